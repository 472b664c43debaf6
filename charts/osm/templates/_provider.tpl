{{/* What the certificate provider needs in the mesh's namespace, for the controller and the injector alike. */}}
{{- define "osm.providerRules" -}}
{{- $kind := .Values.osm.certificateProvider.kind -}}
{{- if eq $kind "tresor" -}}
# The root: created once by whoever is first (create cannot be narrowed by name), then only read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Values.osm.caBundleSecretName }}]
  verbs: [get, list, watch]
{{- else if eq $kind "cert-manager" -}}
# One request for each certificate, deleted once it is answered; list finds what a crashed replica left behind.
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [create, get, list, watch, delete]
{{- with .Values.osm.certmanager }}
{{- if and (eq .issuerKind "Issuer") (eq .issuerGroup "cert-manager.io") }}
# Says why an issuer is not ready.
- apiGroups: [cert-manager.io]
  resources: [issuers]
  resourceNames: [{{ .issuerName }}]
  verbs: [get]
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* The same in the whole cluster. */}}
{{- define "osm.providerClusterRules" -}}
{{- with .Values.osm.certmanager -}}
{{- if and (eq $.Values.osm.certificateProvider.kind "cert-manager") (eq .issuerKind "ClusterIssuer") (eq .issuerGroup "cert-manager.io") -}}
# Says why an issuer is not ready.
- apiGroups: [cert-manager.io]
  resources: [clusterissuers]
  resourceNames: [{{ .issuerName }}]
  verbs: [get]
{{- end -}}
{{- end -}}
{{- end }}
