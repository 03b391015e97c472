#!/bin/sh
# Lets kubectl, helm and turnout into the cluster, as whom `az` is logged in; no secret is kept.
#
#   AKS_RESOURCE_GROUP, AKS_NAME   the cluster
. "$(dirname "$0")/common.sh"

: "${AKS_RESOURCE_GROUP:=}" "${AKS_NAME:=}"
if [ -z "$AKS_RESOURCE_GROUP" ] || [ -z "$AKS_NAME" ]; then refuse "AKS_RESOURCE_GROUP and AKS_NAME: name the cluster"; fi
az aks get-credentials --resource-group "$AKS_RESOURCE_GROUP" --name "$AKS_NAME" --overwrite-existing
if command -v kubelogin >/dev/null; then kubelogin convert-kubeconfig --login azurecli; fi
