#!/bin/sh
# Makes what abtest.yml cannot say: the environment with its checks, an approval by each of these people and the exclusive
# lock. environment.sh ORGANIZATION_URL PROJECT ENVIRONMENT [EMAIL...]; without an EMAIL there is the lock alone. Once an
# environment; `az` is logged in, and has the extension azure-devops.
set -eu

if [ $# -lt 3 ]; then
  echo 'usage: environment.sh https://dev.azure.com/ORGANIZATION PROJECT ENVIRONMENT [EMAIL...]' >&2
  exit 2
fi
organization=$1 project=$2 environment=$3
shift 3

# Azure DevOps, as `az rest` asks for a token of it. Checks have no verb in `az devops`.
call() {
  az rest --resource 499b84ac-1321-427f-aa17-267ca6975798 --method "$1" --output tsv --query id \
    --url "$organization/$project/_apis/$2?api-version=7.1-preview.1" --body "$3"
}

check() {
  resource=$(jq -nc --arg id "$id" --arg name "$environment" '{type: "environment", id: $id, name: $name}')
  call post pipelines/checks/configurations \
    "$(jq -nc --argjson resource "$resource" --arg id "$1" --arg name "$2" --argjson settings "$3" \
      '{type: {id: $id, name: $name}, settings: $settings, timeout: 43200, resource: $resource}')"
}

# Before anything is made: nobody may be left out.
approvers='[]'
for email in "$@"; do
  approver=$(az devops user show --organization "$organization" --user "$email" --query id --output tsv) || approver=''
  if [ -z "$approver" ]; then
    echo "environment.sh: $email is nobody that can approve in $organization, so that nothing is made" >&2
    exit 2
  fi
  approvers=$(jq -nc --argjson others "$approvers" --arg id "$approver" '$others + [{id: $id}]')
done

id=$(call post distributedtask/environments "$(jq -nc --arg name "$environment" '{name: $name, description: ""}')")
check 2ef31ad6-baa0-403a-8b45-2cbc9b4e5563 ExclusiveLock '{}'
if [ $# -gt 0 ]; then
  check 8c6f20a7-a545-4486-9777-f762fafe0d4d Approval "$(jq -nc --argjson approvers "$approvers" '{
    approvers: $approvers, executionOrder: "anyOrder", minRequiredApprovers: 1, requesterCannotBeApprover: false,
    instructions: "The next stage of a scoring model: see the results of the last one."}')"
fi
