# What the registry stores is its own; what opens it is root's.
/srv/projects/registry/data/data/registry:
  file.directory:
    - user: docker-registry
    - group: docker-registry
    - mode: '0750'

/etc/docker/registry:
  file.directory:
    - makedirs: True
    - mode: '0755'

/etc/nginx/tls:
  file.directory:
    - mode: '0700'
