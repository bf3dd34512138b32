{% set data = salt['pillar.get']('makina-projects.registry:data') %}
{% for name in ['certificate', 'key'] %}
/etc/nginx/tls/{{ name }}.pem:
  file.managed:
    - contents_pillar: makina-projects.registry:data:{{ name }}
    - mode: '0600'
    - require:
      - file: /etc/nginx/tls
{% endfor %}

/etc/nginx/nginx.conf:
  file.managed:
    - source: salt://files/nginx.conf
    - template: jinja
    - mode: '0644'
    - context:
        domain: {{ data.domain|tojson }}
        port: {{ data.port|tojson }}

# A certificate that does not fit its key stops the launch with nginx's own words.
nginx -t:
  cmd.run:
    - unless: nginx -t -q
    - require:
      - file: /etc/nginx/nginx.conf
      - file: /etc/nginx/tls/certificate.pem
      - file: /etc/nginx/tls/key.pem
