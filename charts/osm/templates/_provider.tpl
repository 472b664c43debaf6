{{/* The kinds of provider that the mesh uses or may rotate its root to, as a list in JSON. */}}
{{- define "osm.providerKinds" -}}
{{- with .Values.osm.certificateProvider -}}
{{- prepend .additionalKinds .kind | uniq | toJson -}}
{{- end -}}
{{- end }}

{{/* The Vault servers, as HOST:PORT, that MeshRootCertificates may name in addition to --vault-address, as a list in JSON. */}}
{{- define "osm.vaultHosts" -}}
{{- $kind := .Values.osm.certificateProvider.kind -}}
{{- with .Values.osm.vault -}}
{{- $hosts := .allowedHosts -}}
{{- if and .host (ne $kind "vault") -}}
{{- $hosts = prepend $hosts (printf "%s:%d" .host (int .port)) -}}
{{- end -}}
{{- uniq $hosts | toJson -}}
{{- end -}}
{{- end }}

{{/* What the certificate providers need in the mesh's namespace. */}}
{{- define "osm.providerRules" -}}
{{- $kinds := include "osm.providerKinds" . | fromJsonArray -}}
# The roots of the mesh.
- apiGroups: [config.openservicemesh.io]
  resources: [meshrootcertificates]
  verbs: [list, watch]
{{- if has "tresor" $kinds }}
# The root, and the one that a rotation leads to: the first replica creates them (create cannot be narrowed by name); then they are only read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ .Values.osm.caBundleSecretName | toYaml }}, {{ .Values.osm.caBundleSecretName }}-next]
  verbs: [get, list, watch]
{{- end }}
{{- if has "cert-manager" $kinds }}
# One request for each certificate, deleted once it is answered; list finds what a crashed replica left behind.
- apiGroups: [cert-manager.io]
  resources: [certificaterequests]
  verbs: [create, get, list, watch, delete]
{{- with .Values.osm.certmanager }}
{{- if and (eq .issuerKind "Issuer") (eq .issuerGroup "cert-manager.io") }}
# To report why an issuer is not ready.
- apiGroups: [cert-manager.io]
  resources: [issuers]
  resourceNames: [{{ .issuerName | toYaml }}]
  verbs: [get]
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{/* The same in the whole cluster. */}}
{{- define "osm.providerClusterRules" -}}
{{- with .Values.osm.certmanager -}}
{{- if and (has "cert-manager" (include "osm.providerKinds" $ | fromJsonArray)) (eq .issuerKind "ClusterIssuer") (eq .issuerGroup "cert-manager.io") -}}
# To report why an issuer is not ready.
- apiGroups: [cert-manager.io]
  resources: [clusterissuers]
  resourceNames: [{{ .issuerName | toYaml }}]
  verbs: [get]
{{- end -}}
{{- end -}}
{{- end }}
