"""Judges behind the OpenAI API: lmdeploy's api_server, vLLM, and whatever else speaks it with log-probabilities."""

from core.judging.server.explain import ServerExplainer, make_server_explainer
from core.judging.server.health import server_is_up
from core.judging.server.judge import ServerJudge, make_server_judge
from core.judging.server.options import ServerOptions

__all__ = ["ServerExplainer", "ServerJudge", "ServerOptions", "make_server_explainer", "make_server_judge", "server_is_up"]
