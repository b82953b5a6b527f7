"""The whole site in one language: one Gradio Blocks with three pages."""

from __future__ import annotations

import gradio as gr

from core.settings import Settings
from webapp.pages.judge import bind_judge, build_judge
from webapp.pages.render import Renderer
from webapp.pages.run import bind_run, build_run
from webapp.pages.runs import bind_runs, build_runs
from webapp.pages.shell import PageName
from webapp.workbench import Workbench

HANDLERS_AT_ONCE = 16


def build_site(workbench: Workbench, settings: Settings, render: Renderer) -> gr.Blocks:
    """Return the pages of one language, ready to be mounted."""
    t = render.t
    with gr.Blocks(title=t("shell.title"), analytics_enabled=False, fill_width=True) as demo:
        gr.Navbar(visible=False)
        bind_judge(build_judge(render, workbench, settings), demo, workbench, render, settings)
    with demo.route(t("shell.page_run"), PageName.RUN.path):
        gr.Navbar(visible=False)
        bind_run(build_run(render, workbench), demo, workbench, render)
    with demo.route(t("shell.page_runs"), PageName.RUNS.path):
        gr.Navbar(visible=False)
        bind_runs(build_runs(render), demo, workbench, render)
    demo.queue(default_concurrency_limit=HANDLERS_AT_ONCE, api_open=False)
    return demo


def theme() -> gr.themes.Base:
    """Return the theme: fonts of the reader's own machine, so that no request leaves it."""
    fonts = ["Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "system-ui", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.gray,
        font=fonts,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
