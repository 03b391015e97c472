#!/bin/sh
# Builds the scoring image and pushes it; the last line, and the output `image`, name it by its digest. With docker, or
# podman as ENGINE. An IMAGE that is named by digest already is taken as it is. Otherwise:
#
#   IMAGE_REPO_NAME   the registry, as mlopsamlcr.azurecr.io; of Azure's the login is seen to
#   SCORE_SCRIPT      below charts [default: scoring/scoreA.py]
#   IMAGE_NAME        [default: scoring]
#   IMAGE_TAG         [default: the commit]
#   MODEL_VERSION     what a train.py beside the script is told
. "$(dirname "$0")/common.sh"

build() {
  : "${ENGINE:=docker}" "${SCORE_SCRIPT:=scoring/scoreA.py}" "${IMAGE_NAME:=scoring}" "${MODEL_VERSION:=}"
  : "${IMAGE_TAG:=$(git rev-parse --short=12 HEAD)}"
  [ -n "${IMAGE_REPO_NAME:-}" ] || refuse 'IMAGE_REPO_NAME: name the registry'
  [ -f "charts/$SCORE_SCRIPT" ] || refuse "SCORE_SCRIPT: there is no charts/$SCORE_SCRIPT"
  repository=$IMAGE_REPO_NAME/$IMAGE_NAME
  log_in_to "$repository"
  "$ENGINE" build --file charts/scoring/Dockerfile --build-arg "SCORE_SCRIPT=$SCORE_SCRIPT" \
    --build-arg "MODEL_VERSION=$MODEL_VERSION" --tag "$repository:$IMAGE_TAG" charts
  "$ENGINE" push "$repository:$IMAGE_TAG"
  pushed_digest=$(digest_of "$repository:$IMAGE_TAG")
  [ -n "$pushed_digest" ] || refuse "$ENGINE has no digest of $repository:$IMAGE_TAG"
  IMAGE=$repository@$pushed_digest
}

# An image has a digest of each registry where it is.
digest_of() {
  "$ENGINE" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$1" | while read -r reference; do
    if [ "$(familiar "${reference%@*}")" = "$(familiar "${1%:*}")" ]; then
      say "${reference#*@}"
      break
    fi
  done
}

# A name as docker abbreviates it, which leaves Docker Hub out.
familiar() {
  familiar_name=${1#index.}
  familiar_name=${familiar_name#docker.io/}
  say "${familiar_name#library/}"
}

main() {
  case $IMAGE in
    '' | build) build ;;
  esac
  need_image
  output image "$IMAGE"
  say "$IMAGE"
}

report build main
