{{/*
Rules between values, which a JSON schema cannot express. Each message names the key, the allowed values and the
--set that fixes it, because a plain Helm user sees nothing else.
*/}}
{{- define "osm.validate" -}}
{{- $name := .Values.osm.meshName -}}
{{- if or (gt (len $name) 53) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "osm.meshName %q is not a DNS label: use 1 to 53 characters a-z, 0-9 and '-', starting and ending with a letter or digit; fix: --set osm.meshName=osm" $name) -}}
{{- end -}}
{{- if not .Values.osm.image.registry -}}
{{- fail "osm.image.registry is empty: no public registry has the control plane's image yet, so set it to the registry, with an optional path, that your nodes pull it from (make images PUSH=registry.example/team fills it); fix: --set osm.image.registry=registry.example/team" -}}
{{- end -}}
{{- include "osm.validate.provider" (dict "osm" .Values.osm "kinds" (include "osm.providerKinds" . | fromJsonArray)) -}}
{{- include "osm.validate.networkPolicy" . -}}
{{- range $key, $app := include "osm.components" . | fromYaml -}}
{{- include "osm.validate.autoScale" (dict "prefix" (printf "osm.%s" $key) "component" (index $.Values.osm $key)) -}}
{{- include "osm.validate.budget" (dict "prefix" (printf "osm.%s" $key) "component" (index $.Values.osm $key)) -}}
{{- include "osm.validate.resource" (dict "prefix" (printf "osm.%s.resource" $key) "resource" (index $.Values.osm $key).resource) -}}
{{- include "osm.validate.podLabels" (dict "root" $ "prefix" (printf "osm.%s" $key) "component" (index $.Values.osm $key)) -}}
{{- end -}}
{{- end }}

{{/* The values that a certificate provider requires. Takes osm, which is .Values.osm, and the kinds. */}}
{{- define "osm.validate.provider" -}}
{{- $kinds := .kinds -}}
{{- with .osm -}}
{{- $vault := .vault -}}
{{- if and $vault.host (not (has "vault" $kinds)) -}}
{{- fail (printf "osm.vault.host is set while osm.certificateProvider.kind is %s, which does not use Vault; fix: --set osm.certificateProvider.kind=vault, or omit osm.vault.host" .certificateProvider.kind) -}}
{{- end -}}
{{- if has "vault" $kinds -}}
{{- if and (eq .certificateProvider.kind "vault") (not $vault.host) -}}
{{- fail "osm.vault.host is empty while osm.certificateProvider.kind is vault: set it to Vault's host name or IP address; fix: --set osm.vault.host=vault.vault.svc" -}}
{{- end -}}
{{- if not (or $vault.host $vault.allowedHosts) -}}
{{- fail "osm.vault.host and osm.vault.allowedHosts are empty while osm.certificateProvider.additionalKinds has vault: a token is only sent to servers that they name; fix: --set osm.vault.host=vault.vault.svc" -}}
{{- end -}}
{{- if and (eq $vault.protocol "https") (not (trim $vault.caBundle)) -}}
{{- fail "osm.vault.caBundle is empty while osm.vault.protocol is https: the image has no CA certificates of its own, so set it to those that verify Vault, as PEM; fix: --set-file osm.vault.caBundle=ca.pem with helm, or the key in a values file" -}}
{{- end -}}
{{- if and (eq $vault.protocol "http") (trim $vault.caBundle) -}}
{{- fail "osm.vault.caBundle is set while osm.vault.protocol is http, which does not verify Vault; fix: --set osm.vault.protocol=https, or omit osm.vault.caBundle" -}}
{{- end -}}
{{- if and $vault.secret.name (not $vault.secret.key) -}}
{{- fail "osm.vault.secret.key is empty while osm.vault.secret.name is set: set it to the key of the token in that Secret; fix: --set osm.vault.secret.key=token" -}}
{{- end -}}
{{- if and $vault.secret.key (not $vault.secret.name) -}}
{{- fail "osm.vault.secret.name is empty while osm.vault.secret.key is set: set it to the Secret that holds Vault's token; fix: --set osm.vault.secret.name=osm-vault-token" -}}
{{- end -}}
{{- if and $vault.secret.name $vault.login.role -}}
{{- fail "osm.vault.secret.name and osm.vault.login.role are mutually exclusive: use either a token from a Secret or a login with the ServiceAccount; fix: omit one of them" -}}
{{- end -}}
{{- end -}}
{{- if has "cert-manager" $kinds -}}
{{- if and (eq .certmanager.issuerGroup "cert-manager.io") (not (has .certmanager.issuerKind (list "Issuer" "ClusterIssuer"))) -}}
{{- fail (printf "osm.certmanager.issuerKind %q is not a kind of cert-manager's own: in group cert-manager.io use Issuer or ClusterIssuer; for an external issuer, set osm.certmanager.issuerGroup to its group; fix: --set osm.certmanager.issuerKind=Issuer" .certmanager.issuerKind) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "osm.validate.autoScale" -}}
{{- $scale := .component.autoScale -}}
{{- $prefix := printf "%s.autoScale" .prefix -}}
{{- $max := int $scale.maxReplicas -}}
{{- if not (kindIs "invalid" $scale.minReplicas) -}}
{{- if gt (int $scale.minReplicas) $max -}}
{{- fail (printf "%s.minReplicas (%d) is greater than %s.maxReplicas (%d): both take an integer from 1 to 10, minReplicas at most maxReplicas; fix: --set %s.maxReplicas=%d" $prefix (int $scale.minReplicas) $prefix $max $prefix (int $scale.minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- $floor := int (include "osm.replicaFloor" .component) -}}
{{- if and $scale.enable (gt $floor $max) -}}
{{- fail (printf "%s.maxReplicas (%d) is less than the %d replicas that %s.enablePodDisruptionBudget=true needs: maxReplicas takes an integer from %d to 10; fix: --set %s.maxReplicas=%d" $prefix $max $floor .prefix $floor $prefix $floor) -}}
{{- end -}}
{{- if not (or (int $scale.cpu.targetAverageUtilization) (int $scale.memory.targetAverageUtilization)) -}}
{{- fail (printf "%s.cpu.targetAverageUtilization and %s.memory.targetAverageUtilization are both 0: each takes an integer from 0 to 100, where 0 omits the metric, and at least one must be from 1 to 100; fix: --set %s.cpu.targetAverageUtilization=80" $prefix $prefix $prefix) -}}
{{- end -}}
{{- end }}

{{- define "osm.validate.budget" -}}
{{- if and .component.enablePodDisruptionBudget (lt (int (include "osm.replicaFloor" .component)) 2) -}}
{{- $key := ternary (printf "%s.autoScale.minReplicas" .prefix) (printf "%s.replicaCount" .prefix) .component.autoScale.enable -}}
{{- fail (printf "%s is 1 while %s.enablePodDisruptionBudget is true: the budget keeps one pod at all times, so a single pod could never be evicted and every node drain would hang; with the budget %s takes an integer from 2 to 10; fix: --set %s=2, or --set %s.enablePodDisruptionBudget=false" $key .prefix $key $key .prefix) -}}
{{- end -}}
{{- end }}

{{/* A container that requests more than its limit is refused by the API server, which names neither value. */}}
{{- define "osm.validate.resource" -}}
{{- $limits := .resource.limits | default dict -}}
{{- range $name, $request := .resource.requests -}}
{{- $limit := get $limits $name -}}
{{- if and $limit (gt (include "osm.thousandths" $request | float64) (include "osm.thousandths" $limit | float64)) -}}
{{- fail (printf "%s.requests.%s (%v) is greater than %s.limits.%s (%v): a container cannot request more than its limit; fix: --set %s.limits.%s=%v, or --set %s.limits.%s=null for no limit" $.prefix $name $request $.prefix $name $limit $.prefix $name $request $.prefix $name) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Selectors, the webhook's exclusion of our own pods and the uninstall inventory depend on these labels. */}}
{{- define "osm.validate.podLabels" -}}
{{- $reserved := prepend (include "osm.labels" .root | fromYaml | keys | sortAlpha) "app" -}}
{{- range $reserved -}}
{{- if hasKey $.component.podLabels . -}}
{{- fail (printf "%s.podLabels must not have the key %q: the chart itself sets %s, any other label is allowed; fix: omit it" $.prefix . (join ", " $reserved)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A pod's author chooses its labels freely; those of a namespace need other rights. */}}
{{- define "osm.validate.networkPolicy" -}}
{{- with .Values.osm.networkPolicy.metrics -}}
{{- if and .podLabels (not .namespaceLabels) -}}
{{- fail "osm.networkPolicy.metrics.podLabels is set while osm.networkPolicy.metrics.namespaceLabels is empty: anyone who may create a pod in any namespace can set its labels, so set both; fix: --set osm.networkPolicy.metrics.namespaceLabels.kubernetes\\.io/metadata\\.name=NAMESPACE" -}}
{{- end -}}
{{- end -}}
{{- end }}
