{{/* The pods of one of the mesh's components, in the release's namespace, as a peer. */}}
{{- define "osm.network.component" -}}
- podSelector:
    matchLabels:
      {{- include "osm.selectorLabels" . | nindent 6 }}
{{- end }}

{{/*
Peers from the values: pods selected by the labels of their namespaces and their own, and CIDRs. Empty if the values
name none. Takes a dict with namespaceLabels, podLabels and cidrs, or some of them.
*/}}
{{- define "osm.network.peers" -}}
{{- if .namespaceLabels }}
- namespaceSelector:
    matchLabels:
      {{- toYaml .namespaceLabels | nindent 6 }}
  {{- with .podLabels }}
  podSelector:
    matchLabels:
      {{- toYaml . | nindent 6 }}
  {{- end }}
{{- end }}
{{- range .cidrs }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* The API server, as a source or as a destination: a rule without peers allows any. */}}
{{- define "osm.network.apiServer" -}}
{{- include "osm.network.peers" (dict "cidrs" .Values.osm.networkPolicy.apiServer.cidrs) -}}
{{- end }}

{{/* Who may read metrics, versions and health. The kubelets need no rule: a pod's own node is always allowed. */}}
{{- define "osm.network.metrics" -}}
{{- $peers := list (include "osm.network.apiServer" . | trim) (include "osm.network.peers" .Values.osm.networkPolicy.metrics | trim) -}}
{{- with without $peers "" | join "\n" -}}
- from:
    {{- . | nindent 4 }}
  ports:
    - {protocol: TCP, port: 9091}
{{- end -}}
{{- end }}

{{- define "osm.network.ports" -}}
{{- range . }}
- {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end }}

{{/* Egress that all three components need. */}}
{{- define "osm.network.toAPIServer" -}}
- ports:
    {{- include "osm.network.ports" .Values.osm.networkPolicy.apiServer.ports | trim | nindent 4 }}
  {{- with include "osm.network.apiServer" . | trim }}
  to:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
The controller's egress to the certificate provider. Only Vault needs a rule, and only its host may be a DNS name: the API
server is known by its address, and cert-manager is reached through it. An injector needs neither.
*/}}
{{- define "osm.network.toProvider" -}}
{{- if has "vault" (include "osm.providerKinds" . | fromJsonArray) -}}
{{- with .Values.osm.networkPolicy -}}
- ports:
    {{- include "osm.network.ports" (.vault.ports | default (list $.Values.osm.vault.port)) | trim | nindent 4 }}
  {{- with include "osm.network.peers" .vault | trim }}
  to:
    {{- . | nindent 4 }}
  {{- end }}
- ports:
    {{- range .dns.ports }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
  to:
    {{- include "osm.network.peers" (mustMergeOverwrite (dict) .dns (dict
      "namespaceLabels" (.dns.namespaceLabels | default (dict "kubernetes.io/metadata.name" "kube-system"))
      "podLabels" (.dns.podLabels | default (dict "k8s-app" "kube-dns")))) | trim | nindent 4 }}
{{- end -}}
{{- end -}}
{{- end }}
