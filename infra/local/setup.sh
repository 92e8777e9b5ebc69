#!/usr/bin/env bash
# Makes this machine able to run the stack: system programs, JVM artifacts, two Python environments; with `airflow`,
# the third.
# Idempotent; with nothing to do it takes well under a second. Writes under .local/ and the link .venv, besides
# what apt installs (and createcluster.conf, so that no cluster starts) and the package caches. What it cannot install it names, with the command.
set -euo pipefail
cd "$(dirname "$0")/../.."

LOCAL="$PWD/.local"
STAMPS="$LOCAL/stamps"
UV_VERSION="0.13.8"

say() { printf '%-13s %s\n' "$1" "$2"; }

fail() {
  printf 'setup: %s\n' "$1" >&2
  exit 1
}

# --- System programs, by apt -----------------------------------------------------------------

java_is_new_enough() {
  command -v java >/dev/null && java -version 2>&1 | awk -F'[".]' '/version/ { exit !($2 >= 17) }'
}

postgres_is_new_enough() {
  local server
  for server in /usr/lib/postgresql/*/bin/postgres "$(command -v postgres || true)"; do
    [[ -x $server ]] || continue
    [[ $("$server" --version) =~ \ ([0-9]+) ]] && ((BASH_REMATCH[1] >= 15)) && return 0
  done
  return 1
}

redis_is_new_enough() {
  command -v redis-server >/dev/null && [[ $(redis-server --version) =~ v=([0-9]+) ]] && ((BASH_REMATCH[1] >= 7))
}

# A Python that can make an environment: Debian's lacks ensurepip until python3-venv is there.
python_can_make_environments() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

missing_packages() {
  java_is_new_enough || echo openjdk-17-jre-headless
  command -v mvn >/dev/null || jars_are_there || echo maven
  postgres_is_new_enough || echo postgresql-15
  redis_is_new_enough || echo redis-server
  command -v setpriv >/dev/null || echo util-linux
  command -v uv >/dev/null || [[ -x $LOCAL/tools/bin/uv ]] || python_can_make_environments || echo python3-venv
}

install_packages() {
  local as_root=() packages=("$@")
  local command="apt-get install -y --no-install-recommends ${packages[*]}"
  command -v apt-get >/dev/null || fail "missing: ${packages[*]} (Debian names); install them, then type: make setup"
  if [[ $(id -u) != 0 ]]; then
    sudo -n true 2>/dev/null || fail "missing: ${packages[*]}; type: sudo apt-get update && sudo $command"
    as_root=(sudo -n)
  fi
  say apt "installing ${packages[*]}"
  without_a_system_cluster
  without_a_system_redis
  "${as_root[@]}" apt-get update -qq || fail "apt-get update failed; the package lists may be unreachable"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive $command >"$LOCAL/apt.log" 2>&1 ||
    fail "apt-get failed; the end of $LOCAL/apt.log:
$(tail -n 15 "$LOCAL/apt.log")"
  if [[ -n ${not_to_start-} ]]; then start_services_again; fi
}

# Debian's package starts a Redis on 6379 and at every boot. Ours is private: while the package is installed no service
# starts, and this one is switched off afterwards.
without_a_system_redis() {
  local file=/usr/sbin/policy-rc.d
  [[ ${packages[*]} == *redis* && ! -e $file ]] || return 0
  not_to_start=$file
  trap start_services_again EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$file" >/dev/null
  "${as_root[@]}" chmod +x "$file"
}

start_services_again() {
  "${as_root[@]}" rm -f "$not_to_start"
  not_to_start=""
  trap - EXIT
  "${as_root[@]}" update-rc.d redis-server disable >/dev/null 2>&1 || true
}

# Debian's package makes a cluster of its own and starts it on 5432. Ours is private, and a machine
# that had no Postgres did not ask for one: say so, unless somebody already decided.
without_a_system_cluster() {
  local file=/etc/postgresql-common/createcluster.conf
  [[ ${packages[*]} == *postgresql* && ! -e $file ]] || return 0
  "${as_root[@]}" mkdir -p "${file%/*}"
  echo 'create_main_cluster = false' | "${as_root[@]}" tee "$file" >/dev/null
}

# --- JVM artifacts, by Maven -----------------------------------------------------------------

pom_hash() { sha256sum infra/local/pom.xml | cut -c1-16; }
jars_are_there() { [[ -e $STAMPS/jars-$(pom_hash) ]]; }

# Jars that did not change stay the files they are: a stack that runs loads classes from them.
copy_jars() {
  jars_are_there && return
  local profile folder fresh="$LOCAL/lib/fresh"
  for profile in kafka connect debezium flink; do
    say maven "copying the $profile jars"
    folder="$LOCAL/lib/$profile"
    # Connect loads a plugin from a folder below the one it is told.
    if [[ $profile == debezium ]]; then folder="$LOCAL/lib/plugins/debezium"; fi
    rm -rf "$fresh"
    mvn -q -B -ntp -f infra/local/pom.xml -P "$profile" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$fresh" >"$LOCAL/maven.log" 2>&1 ||
      fail "maven could not get the $profile jars; the end of $LOCAL/maven.log:
$(tail -n 15 "$LOCAL/maven.log")"
    if ! diff -rq "$fresh" "$folder" >/dev/null 2>&1; then
      mkdir -p "${folder%/*}"
      rm -rf "$folder"
      mv "$fresh" "$folder"
    fi
  done
  rm -rf "$fresh"
  touch "$STAMPS/jars-$(pom_hash)"
}

# --- Python environments, by uv --------------------------------------------------------------

find_uv() {
  if command -v uv >/dev/null && uv --version >/dev/null 2>&1; then
    command -v uv
  elif [[ -x $LOCAL/tools/bin/uv ]]; then
    echo "$LOCAL/tools/bin/uv"
  fi
}

install_uv() {
  [[ -n $(find_uv) ]] && return
  say uv "installing $UV_VERSION into .local/tools"
  python3 -m venv "$LOCAL/tools"
  "$LOCAL/tools/bin/pip" install -q --disable-pip-version-check "uv==$UV_VERSION" ||
    fail "pip could not get uv; install uv $UV_VERSION or later on the PATH, then type: make setup"
}

# A uv of our own is on nobody's PATH; in the environment's folder `uv run` and `activate` find it.
show_uv() {
  local link="$LOCAL/venv/bin/uv"
  [[ $UV != "$LOCAL/tools/bin/uv" || -e $link ]] && return
  ln -sf "$UV" "$link"
  say uv "in your own shell: source .venv/bin/activate"
}

lock_hash() { cat uv.lock pyproject.toml | sha256sum | cut -c1-16; }

# $1 name of the environment's folder, then uv's options that choose its groups.
sync_environment() {
  local name="$1" stamp
  stamp="$STAMPS/$name-$(lock_hash)"
  shift
  [[ -e $stamp && -x $LOCAL/$name/bin/python ]] && return
  say uv "syncing .local/$name"
  [[ -x $LOCAL/$name/bin/python ]] || "$UV" venv -q --python '>=3.11,<3.13' "$LOCAL/$name" ||
    fail "no Python 3.11 or 3.12 found; type: apt-get install python3.11"
  UV_PROJECT_ENVIRONMENT="$LOCAL/$name" "$UV" sync -q --locked --compile-bytecode "$@"
  touch "$stamp"
}

# Flink loads Python into its JVM. Debian's python3 carries the interpreter inside the program, and
# the shared library is a package of its own; without it the job restarts for ever.
install_python_library() {
  local python="$LOCAL/venv-flink/bin/python" package
  package="$("$python" -c 'import sys, find_libpython as f
f.find_libpython() or print("libpython%d.%d" % sys.version_info[:2])')"
  if [[ -n $package ]]; then install_packages "$package"; fi
}

# --------------------------------------------------------------------------------------------

mkdir -p "$STAMPS"
mapfile -t packages < <(missing_packages)
if ((${#packages[@]})); then install_packages "${packages[@]}"; fi
copy_jars
install_uv
UV="$(find_uv)"
sync_environment venv
show_uv
sync_environment venv-flink --no-default-groups --group flink
install_python_library
if [[ ${1-} == airflow ]]; then sync_environment venv-airflow --no-default-groups --group airflow; fi
[[ -e .venv ]] || ln -s .local/venv .venv
say setup "ready"
