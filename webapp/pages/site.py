"""The whole site in one language: one Gradio Blocks with all of its pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import gradio as gr
from gradio import blocks

from core.settings import Settings
from webapp.pages.agreement import bind_agreement, build_agreement
from webapp.pages.client_api import add_client_api
from webapp.pages.compare import bind_compare, build_compare
from webapp.pages.judge import bind_judge, build_judge
from webapp.pages.library import bind_library, build_library
from webapp.pages.models import bind_models, build_models
from webapp.pages.render import Renderer
from webapp.pages.review import bind_review, build_review
from webapp.pages.row import bind_row, build_row
from webapp.pages.run import bind_run, build_run
from webapp.pages.run_list import bind_run_list, build_run_list
from webapp.pages.shell import PageName
from webapp.pages.training import bind_training, build_training
from webapp.workbench import Workbench

HANDLERS_AT_ONCE = 16


def build_site(workbench: Workbench, settings: Settings, render: Renderer) -> gr.Blocks:
    """Return the pages of one language, ready to be mounted."""
    with _built_once():
        demo = _build_pages(workbench, settings, render)
        demo.queue(default_concurrency_limit=HANDLERS_AT_ONCE, api_open=False)
    return demo


@contextmanager
def _built_once() -> Iterator[None]:
    """Keep Gradio from making an application and a description of all that is there at the end of every page.

    Mounting the site makes those that serve. Twelve applications a language were two thirds of the server's start.
    """
    app, describe = blocks.App, blocks.Blocks.get_config_file
    blocks.App = SimpleNamespace(create_app=lambda *_, **__: None)
    blocks.Blocks.get_config_file = lambda _: {}
    try:
        yield
    finally:
        blocks.App, blocks.Blocks.get_config_file = app, describe


def _build_pages(workbench: Workbench, settings: Settings, render: Renderer) -> gr.Blocks:
    t = render.t
    with gr.Blocks(title=t("shell.title"), analytics_enabled=False, fill_width=True) as demo:
        gr.Navbar(visible=False)
        bind_judge(build_judge(render, workbench, settings), demo, workbench, render, settings)
        add_client_api(workbench, render)
    with demo.route(t("shell.page_run"), PageName.RUN.path):
        gr.Navbar(visible=False)
        bind_run(build_run(render, workbench), demo, workbench, render)
    with demo.route(t("shell.page_runs"), PageName.RUNS.path):
        gr.Navbar(visible=False)
        bind_run_list(build_run_list(render), demo, workbench, render)
    with demo.route(t("shell.page_review"), PageName.REVIEW.path):
        gr.Navbar(visible=False)
        bind_review(build_review(render), demo, workbench, render)
    with demo.route(t("shell.page_row"), PageName.ROW.path):
        gr.Navbar(visible=False)
        bind_row(build_row(render), demo, workbench, render)
    with demo.route(t("shell.page_compare"), PageName.COMPARE.path):
        gr.Navbar(visible=False)
        bind_compare(build_compare(render), demo, workbench, render)
    with demo.route(t("shell.page_library"), PageName.LIBRARY.path):
        gr.Navbar(visible=False)
        bind_library(build_library(render), demo, workbench, render, settings)
    with demo.route(t("shell.page_agreement"), PageName.AGREEMENT.path):
        gr.Navbar(visible=False)
        bind_agreement(build_agreement(render), demo, workbench, render)
    with demo.route(t("shell.page_models"), PageName.MODELS.path):
        gr.Navbar(visible=False)
        bind_models(build_models(render), demo, workbench, render)
    with demo.route(t("shell.page_training"), PageName.TRAINING.path):
        gr.Navbar(visible=False)
        bind_training(build_training(render), demo, workbench, render)
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
