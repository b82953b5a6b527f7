# The workbench with the CPU panel: docker build -t pingpan . && docker run -p 7860:7860 -v pingpan-data:/data pingpan
FROM python:3.13-slim

RUN useradd --create-home --uid 10001 pingpan && mkdir /data && chown pingpan /data
WORKDIR /app
COPY requirements.txt ./
COPY requirements-nodeps.txt ./
RUN pip install --no-cache-dir -r requirements.txt && pip install --no-cache-dir --no-deps -r requirements-nodeps.txt
COPY core core
COPY db db
COPY training training
COPY webapp webapp
COPY assets assets
# The user may not write here, and would compile at every start.
RUN python -m compileall -q core db training webapp

USER pingpan
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PINGPAN_HOME=/data \
    PINGPAN_HOST=0.0.0.0 \
    PINGPAN_PORT=7860 \
    PINGPAN_OPEN_BROWSER=false
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/health', timeout=4)"
ENTRYPOINT ["python", "-P", "-m", "webapp"]
