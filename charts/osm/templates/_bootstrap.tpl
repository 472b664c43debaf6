{{/*
Metadata that makes an object part of the install hook. The Job comes last, after the objects that it needs. Takes
(dict "root" $ "weight" n).
*/}}
{{- define "osm.bootstrap.hook" -}}
labels:
  app: osm-bootstrap
  {{- include "osm.labels" .root | nindent 2 }}
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* The MeshConfig spec made from the values. */}}
{{- define "osm.bootstrap.preset" -}}
{{- with .Values.osm -}}
{{- dict
  "sidecar" (dict "logLevel" .envoyLogLevel "localProxyMode" .localProxyMode)
  "traffic" (dict
    "enableEgress" .enableEgress
    "enablePermissiveTrafficPolicyMode" .enablePermissiveTrafficPolicy
    "outboundPortExclusionList" .outboundPortExclusionList
    "inboundPortExclusionList" .inboundPortExclusionList
    "outboundIPRangeExclusionList" .outboundIPRangeExclusionList
    "outboundIPRangeInclusionList" .outboundIPRangeInclusionList
    "networkInterfaceExclusionList" .networkInterfaceExclusionList)
  "observability" (dict "osmLogLevel" .controllerLogLevel)
  "certificate" (dict
    "serviceCertValidityDuration" .certificateProvider.serviceCertValidityDuration
    "certKeyBitSize" .certificateProvider.certKeyBitSize)
  | toPrettyJson -}}
{{- end -}}
{{- end }}
