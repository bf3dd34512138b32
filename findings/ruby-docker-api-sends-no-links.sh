#!/usr/bin/env bash
# Debian 12: ruby-docker-api 2.2.0-1 (Docker's API for Ruby), with ruby3.1.
# Guess: `Docker::Image.build_from_dir` sends the folder as `docker build` does: a link as a link, wherever it points, and empty folders; and the name
# of an image is split from its tag behind the last slash, as names of local registries have a port.
# Seen: a link to a file becomes a copy of it, a link to a folder and an empty folder are missing, and one whose target is not there (in a repository: the
# target is made by the build) ends it with "No such file or directory". `push` takes localhost:5000/app for the tag 5000/app of "localhost".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq ruby-docker-api=2.2.0-1 ruby-excon ruby-multi-json ruby3.1 libruby3.1 libyaml-0-2 2>/dev/null
for package in *.deb; do dpkg -x "$package" root; done
lib=root/usr/lib
ruby() { LD_LIBRARY_PATH=$lib/x86_64-linux-gnu root/usr/bin/ruby3.1 -W0 -I $lib/ruby/3.1.0 -I $lib/x86_64-linux-gnu/ruby/3.1.0 -I $lib/ruby/vendor_ruby \
  -I "$(echo root/usr/share/rubygems-integration/all/gems/excon-*/lib)" "$@"; }
mkdir -p context/{data,empty}
echo 'FROM scratch' >context/Dockerfile
echo hello >context/data/file
ln -s data/file context/to-a-file
ln -s data context/to-a-folder
cat >list.rb <<'RUBY'
require "rubygems/package"
require "docker"
kinds = { "0" => "file", "2" => "link", "5" => "folder" }
begin
  Gem::Package::TarReader.new(Docker::Util.create_dir_tar("context")).map { |entry| "  #{entry.full_name}: #{kinds[entry.header.typeflag]}" }.sort.each { |line| puts line }
rescue SystemCallError => error
  puts "  #{error.class}: #{error.message[/.* directory/]}"
end
RUBY
cat >push.rb <<'RUBY'
require "docker"
ARGV.each { |name| puts "  #{name}: name %s, tag %s" % Docker::Util.parse_repo_tag(name) }
RUBY
{
  echo "sent of a context with two links and an empty folder:"
  ruby list.rb
  ln -s made/by/the/build context/to-nothing
  echo "with a link to nothing:"
  ruby list.rb
  echo "pushed as:"
  ruby push.rb registry.example/app:1 localhost:5000/app:1 localhost:5000/app
} | tee seen
diff seen - <<'SEEN'
sent of a context with two links and an empty folder:
  Dockerfile: file
  data/file: file
  to-a-file: file
with a link to nothing:
  Errno::ENOENT: No such file or directory
pushed as:
  registry.example/app:1: name registry.example/app, tag 1
  localhost:5000/app:1: name localhost:5000/app, tag 1
  localhost:5000/app: name localhost, tag 5000/app
SEEN
