{% set data = salt['pillar.get']('makina-projects.registry:data') %}
/etc/docker/registry/config.yml:
  file.managed:
    - source: salt://files/config.yml
    - template: jinja
    - user: root
    - group: docker-registry
    - mode: '0640'
    - context:
        users: {{ data.users|tojson }}
        delete: {{ data.delete|tojson }}
    - require:
      - file: /etc/docker/registry

/etc/docker/registry/users:
  file.managed:
    - contents: {{ data.users|join('\n')|tojson }}
    - user: root
    - group: docker-registry
    - mode: '0640'
    - require:
      - file: /etc/docker/registry
