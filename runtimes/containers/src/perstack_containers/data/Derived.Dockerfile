# A skill's own image with perstack's first process in it. The image has to have python3 3.9 or newer on its path.
ARG BASE
FROM ${BASE}
USER 0
COPY perstack /opt/perstack
COPY names /etc
