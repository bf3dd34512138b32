/etc/@NAME@:
  file.directory:
    - mode: '0755'
