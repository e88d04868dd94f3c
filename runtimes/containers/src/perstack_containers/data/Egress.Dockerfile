# The way out of a run's sandboxes: Python, Squid, and the gate that perstack puts in front of it. Once it is made it needs no shell, no package manager and no Perl.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get upgrade -y --no-install-recommends \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 squid-openssl \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY perstack /opt/perstack
RUN python3 -m compileall -q /opt/perstack/lib \
 && echo /opt/perstack/lib > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/perstack.pth"
ARG USER_ID
ARG GROUP_ID
RUN sed -i "/^[^:]*:[^:]*:${USER_ID}:/d" /etc/passwd \
 && sed -i "/^[^:]*:[^:]*:${GROUP_ID}:/d" /etc/group \
 && echo "perstack:x:${GROUP_ID}:" >> /etc/group \
 && echo "perstack:x:${USER_ID}:${GROUP_ID}:perstack:/home/perstack:/usr/sbin/nologin" >> /etc/passwd \
 && mkdir -p /home/perstack /scratch \
 && chmod 1777 /home/perstack /scratch \
 && rm -rf /usr/bin/apt* /usr/bin/dpkg* /usr/bin/perl* /bin/bash /bin/dash /bin/sh /usr/bin/bash /usr/bin/dash /usr/bin/sh
USER ${USER_ID}:${GROUP_ID}
