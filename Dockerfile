# Small, non-root, from the same lock as every other environment.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/gameday \
 && python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir "$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)"
COPY agent agent
COPY probes probes
COPY experiments experiments
# The lock holds the tools of development too; only what the wheel itself needs goes in, at the locked versions.
RUN grep -E '^[a-zA-Z0-9._-]+==' requirements.lock | sed 's/ \\$//' > /tmp/pins \
 && /opt/uv/bin/uv pip install --no-cache --python /opt/gameday/bin/python --constraint /tmp/pins .

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 gameday
COPY --from=build /opt/gameday /opt/gameday
COPY --from=build /src/experiments /experiments
ENV PATH=/opt/gameday/bin:$PATH GAMEDAY_HOME=/var/lib/gameday PYTHONUNBUFFERED=1
RUN install -d -o gameday -g gameday -m 700 /var/lib/gameday
USER gameday
VOLUME /var/lib/gameday
ENTRYPOINT ["gameday"]
CMD ["serve", "--experiments", "/experiments"]
