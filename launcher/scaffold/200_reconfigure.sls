{% set data = salt['pillar.get']('makina-projects.@NAME@:data') %}
/etc/@NAME@/app.conf:
  file.managed:
    - source: salt://files/app.conf
    - template: jinja
    - mode: '0644'
    - context:
        domain: {{ data.domain|tojson }}
