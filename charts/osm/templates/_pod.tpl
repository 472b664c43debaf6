{{/* Required by the restricted Pod Security Standard. */}}
{{- define "osm.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "osm.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "osm.image.container" -}}
image: {{ include "osm.image" . | quote }}
imagePullPolicy: {{ .Values.osm.image.pullPolicy }}
{{- end }}

{{- define "osm.commonArgs" -}}
- --mesh-name={{ .Values.osm.meshName }}
- --osm-namespace={{ .Release.Namespace }}
- --trust-domain={{ .Values.osm.trustDomain }}
{{- with .Values.osm.clusterDomain }}
- --cluster-domain={{ . }}
{{- end }}
- --ca-bundle-secret-name={{ .Values.osm.caBundleSecretName }}
- --log-level={{ .Values.osm.controllerLogLevel }}
{{- end }}

{{/* For the controller only, which signs or requests certificates; the injector holds no root. */}}
{{- define "osm.providerArgs" -}}
{{- $kind := .Values.osm.certificateProvider.kind -}}
{{- $kinds := include "osm.providerKinds" . | fromJsonArray -}}
- --certificate-provider={{ $kind }}
{{- with without $kinds $kind }}
- --additional-certificate-providers={{ join "," . }}
{{- end }}
{{- with .Values.osm.vault }}
{{- if has "vault" $kinds }}
{{- if eq $kind "vault" }}
- --vault-address={{ printf "%s://%s:%d" .protocol .host (int .port) }}
{{- end }}
{{- with include "osm.vaultHosts" $ | fromJsonArray }}
- --vault-allowed-hosts={{ join "," . }}
{{- end }}
{{- if eq .protocol "http" }}
- --vault-allow-http
{{- end }}
- --vault-mount={{ .mount }}
- --vault-role={{ .role }}
{{- if .namespace }}
- --vault-namespace={{ .namespace }}
{{- end }}
{{- if .secret.name }}
- --vault-token-file=/etc/osm/vault-token/token
- --vault-token-secret={{ .secret.name }}/{{ .secret.key }}
{{- else }}
- --vault-login-mount={{ .login.mount }}
- --vault-login-role={{ .login.role | default .role }}
{{- end }}
{{- if eq .protocol "https" }}
- --vault-ca-file=/etc/osm/vault-ca/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.osm.certmanager }}
{{- if has "cert-manager" $kinds }}
- --cert-manager-issuer={{ .issuerName }}
- --cert-manager-issuer-kind={{ .issuerKind }}
- --cert-manager-issuer-group={{ .issuerGroup }}
{{- end }}
{{- end }}
{{- end }}

{{/* Files for Vault. No subPath: the kubelet updates a replaced token in running pods. */}}
{{- define "osm.providerMounts" -}}
{{- if has "vault" (include "osm.providerKinds" . | fromJsonArray) }}
{{- if eq .Values.osm.vault.protocol "https" }}
- name: vault-ca
  mountPath: /etc/osm/vault-ca
  readOnly: true
{{- end }}
{{- if .Values.osm.vault.secret.name }}
- name: vault-token
  mountPath: /etc/osm/vault-token
  readOnly: true
{{- else }}
- name: vault-login
  mountPath: /etc/osm/vault-login
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "osm.providerVolumes" -}}
{{- if has "vault" (include "osm.providerKinds" . | fromJsonArray) }}
{{- if eq .Values.osm.vault.protocol "https" }}
- name: vault-ca
  configMap:
    name: osm-vault-ca
{{- end }}
{{- with .Values.osm.vault }}
{{- if .secret.name }}
- name: vault-token
  secret:
    secretName: {{ .secret.name | toYaml }}
    items: [{key: {{ .secret.key | quote }}, path: token}]
{{- else }}
# Vault receives this token. Because of its audience the API server does not accept it.
- name: vault-login
  projected:
    sources:
      - serviceAccountToken: {audience: {{ .login.audience | quote }}, expirationSeconds: 3600, path: token}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes the component's values. */}}
{{- define "osm.env" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- /* Without a limit, the downward API would give the node's memory. */}}
{{- if dig "limits" "memory" "" .resource }}
# Near the limit the Go runtime collects garbage more often, before the kernel kills the process.
- name: GOMEMLIMIT
  valueFrom: {resourceFieldRef: {resource: limits.memory}}
{{- end }}
{{- end }}

{{/*
The startup probe gives the first sync five minutes; only then do the other two begin. Liveness checks whether the process
answers, never whether the API server or the CA does: a restart would fix neither.
*/}}
{{- define "osm.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 150
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}

{{- define "osm.resources" -}}
resources:
  {{- range $kind, $amounts := . }}
  {{- if $amounts }}
  {{ $kind }}:
    {{- range $name, $amount := $amounts }}
    {{ $name }}: {{ $amount | toString | quote }}
    {{- end }}
  {{- end }}
  {{- end }}
{{- end }}

{{/*
A new pod must be ready before an old one stops. With a *required* pod anti-affinity there may be no host left for the new
one, so an old one stops first; otherwise the update would never finish. Takes the component's values.
*/}}
{{- define "osm.strategy" -}}
{{- $antiAffinity := .affinity.podAntiAffinity | default dict -}}
strategy:
  type: RollingUpdate
  rollingUpdate:
    maxSurge: 1
    maxUnavailable: {{ ternary 1 0 (not (empty $antiAffinity.requiredDuringSchedulingIgnoredDuringExecution)) }}
{{- end }}

{{- define "osm.nodeAffinity" -}}
requiredDuringSchedulingIgnoredDuringExecution:
  nodeSelectorTerms:
    - matchExpressions:
        - key: kubernetes.io/os
          operator: In
          values: [linux]
        - key: kubernetes.io/arch
          operator: In
          values: [amd64, arm64]
{{- end }}

{{- define "osm.podAntiAffinity" -}}
preferredDuringSchedulingIgnoredDuringExecution:
  - weight: 100
    podAffinityTerm:
      topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "osm.selectorLabels" . | nindent 10 }}
{{- end }}

{{/*
pod-template-hash excludes the pods of the previous revision from the count: during a rolling update, those would
otherwise decide where the new ones may run. Takes (dict "root" $ "app" name "key" key of the component's values).
*/}}
{{- define "osm.topologySpread" -}}
{{- $selector := dict "matchLabels" (include "osm.selectorLabels" . | fromYaml) -}}
{{- $component := index .root.Values.osm .key -}}
{{- $constraints := list -}}
{{- range $component.topologySpreadConstraints -}}
{{- $constraints = append $constraints (merge (deepCopy .) (dict "labelSelector" $selector)) -}}
{{- end -}}
{{- if empty $constraints -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" -}}
{{- $constraints = append $constraints (dict "maxSkew" 1 "topologyKey" . "whenUnsatisfiable" "ScheduleAnyway" "labelSelector" $selector "matchLabelKeys" (list "pod-template-hash")) -}}
{{- end -}}
{{- end -}}
topologySpreadConstraints:
  {{- toYaml $constraints | nindent 2 }}
{{- end }}

{{- define "osm.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . | toYaml }}
{{- end }}
{{- end }}

{{/* Where a component's pods run. Takes (dict "root" $ "app" name "key" key of the component's values). */}}
{{- define "osm.scheduling" -}}
{{- $component := index .root.Values.osm .key -}}
{{- $affinity := dict "nodeAffinity" (include "osm.nodeAffinity" .root | fromYaml) "podAntiAffinity" (include "osm.podAntiAffinity" . | fromYaml) -}}
{{- range $kind, $rules := $component.affinity -}}
{{- $_ := set $affinity $kind $rules -}}
{{- end -}}
affinity:
  {{- toYaml $affinity | nindent 2 }}
{{ include "osm.topologySpread" . }}
{{- include "osm.placement" $component }}
{{- end }}

{{/* Metadata of a component's pods; labels of the mesh win over podLabels. */}}
{{- define "osm.podMetadata" -}}
{{- $component := index .root.Values.osm .key -}}
{{- $labels := merge (include "osm.selectorLabels" . | fromYaml) (include "osm.labels" .root | fromYaml) $component.podLabels -}}
labels:
  {{- toYaml $labels | nindent 2 }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: "9091"
  prometheus.io/path: /metrics
  {{- if and (eq .app "osm-controller") (has "vault" (include "osm.providerKinds" .root | fromJsonArray)) (eq .root.Values.osm.vault.protocol "https") }}
  # Read once at start: a new bundle needs new pods.
  openservicemesh.io/vault-ca: {{ .root.Values.osm.vault.caBundle | sha256sum | trunc 16 | quote }}
  {{- end }}
{{- end }}
