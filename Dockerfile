# Small, non-root, from the same lock as every other environment.
# The base is any Debian with CPython 3.12 or newer: docker build --build-arg BASE=registry.example/python:3.13-slim .
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements.lock pyproject.toml ./
# The lock holds the tools of development too; only what the wheel itself needs goes in, at the locked versions.
RUN python3 -m venv /opt/gameday \
 && python3 -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)" \
 && grep -E '^[a-zA-Z0-9._-]+==' requirements.lock | sed 's/ \\$//' > /tmp/pins \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/gameday/bin/python \
      --constraint /tmp/pins --requirements pyproject.toml --extra postgresql
COPY README.md LICENSE ./
COPY agent agent
COPY probes probes
COPY experiments experiments
RUN /opt/uv/bin/uv pip install --no-cache --compile-bytecode --python /opt/gameday/bin/python --no-deps .

FROM ${BASE}
# What breaks the network of a pod from inside it is this same image with one capability more.  It is started for
# each pod anew, and published images of Python have no byte code of the standard library: 0.2 s of a processor.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends nftables iproute2 \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m compileall -q -x '/(site-packages|tests?|idlelib|lib2to3|tkinter|turtledemo)/' \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
 && useradd --create-home --uid 10001 gameday \
 && install -d -o gameday -g gameday -m 700 /var/lib/gameday
COPY --from=build /opt/gameday /opt/gameday
COPY --from=build /src/experiments /experiments
ENV PATH=/opt/gameday/bin:$PATH GAMEDAY_HOME=/var/lib/gameday PYTHONUNBUFFERED=1
USER gameday
VOLUME /var/lib/gameday
ENTRYPOINT ["gameday"]
CMD ["serve", "--experiments", "/experiments"]
