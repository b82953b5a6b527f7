"""The parts of the workbench: uploads, the engine that executes runs, exports."""
