/etc/circus/circus.ini:
  file.managed:
    - source: salt://files/circus.ini
    - makedirs: True
    - mode: '0644'
