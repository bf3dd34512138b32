# Waits until all is ready, and runs the service `tests` of the project in the folder that is the argument. Then what may
# have a value of HOOK_ENV is deleted.
until [ -f /.image-factory/ready ]; do sleep 0.1; done
if [ ! -f /.image-factory/project.json ]; then
  echo 'This container cannot run again, because its project had values of HOOK_ENV.' >&2
  exit 1
fi
/bin/sh /.image-factory/compose --project-directory "$1" -f /.image-factory/project.json run --rm -T tests
code=$?
if [ -s /.image-factory/env ]; then rm -f /.image-factory/env /.image-factory/project.json; fi
exit $code
