"""The Gradio pages: a page is a frozen dataclass of its components, with a `build_…` and a `bind_…`."""

from webapp.light_gradio import import_gradio

# Before any page module says `import gradio`: that import alone would load pandas.
import_gradio()
