{{/* The pods of one of the mesh's components as a peer, which is to say in the release's namespace. */}}
{{- define "osm.network.component" -}}
- podSelector:
    matchLabels:
      {{- include "osm.selectorLabels" . | nindent 6 }}
{{- end }}

{{/*
Peers that the values name: pods by the labels of their namespaces and their own, and addresses. Nothing at all if they
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

{{/* Whoever may read metrics, versions and health. The kubelets need no rule: a pod's own node is always let in. */}}
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

{{/* Ways out that all three parts need. */}}
{{- define "osm.network.toAPIServer" -}}
- ports:
    {{- include "osm.network.ports" .Values.osm.networkPolicy.apiServer.ports | trim | nindent 4 }}
  {{- with include "osm.network.apiServer" . | trim }}
  to:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}

{{/*
The controller's ways out to the certificate provider. Only Vault is elsewhere, and only its host may be a name: the API
server is known by its address, and cert-manager is reached through it. An injector has no business with either.
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
