"""The services and, over them, the Gradio pages and the command line: the only wiring of concrete classes."""
