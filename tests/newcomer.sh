#!/usr/bin/env bash
# A newcomer's way through the README, from top to bottom: a fresh clone, its commands one after the other (which ones
# says tests/readme_commands.py), to a generated clip and a compared experiment. `bash tests/newcomer.sh` takes the
# default run and an empty environment: some 25 minutes and 10 GB.
#
# PRESET=smoke takes presets/smoke.yaml as the run; VENV=FOLDER an environment that is there; CACHE=FOLDER a DVC cache,
# from which what is in it is restored; CLONE=FOLDER says where the clone goes, and stays.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
clone=${CLONE:-$(mktemp -d)/bind-an-audio}
environment=${VENV:-} cache=${CACHE:-} preset=${PRESET:-}
unset VENV CACHE PRESET CLONE

git clone --quiet "$root" "$clone"
cd "$clone"
if [ -n "$preset" ]; then
  cp "presets/$preset.yaml" params.yaml
  git commit --quiet --all --message "The run is $preset"
fi
if [ -n "$environment" ]; then
  # Its files by links, so that make finds all installed and marks nothing there.
  mkdir .venv
  ln -s "$environment"/* .venv/
  rm -f .venv/running
  touch .venv/running
  export PYTHONPATH=$clone
fi
if [ -n "$cache" ]; then
  cp -r "$cache" .dvc/cache
fi

python3 tests/readme_commands.py > .newcomer.sh
set -v
. ./.newcomer.sh
set +v

for file in clip.wav clips/dog-1.flac clips/dog-2.flac clips/dog-3.flac more/ring.flac comparison/index.html metrics/listening/index.html; do
  [ -s "$file" ] || { echo "error: the README's commands made no $file" >&2; exit 1; }
done
cmp clips/dog-1.flac again.flac
dvc exp list --name-only | grep -x " *transformer" > /dev/null || { echo "error: no experiment 'transformer'" >&2; exit 1; }
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
  git status --short --untracked-files=no >&2
  echo "error: the way back leaves changes" >&2
  exit 1
fi
echo "the README's commands do what they say: $clone"
