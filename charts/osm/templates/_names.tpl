{{/*
The components that scale, by the key of their values. Everything that exists once per component (floors, rules, HPA, PDB)
ranges over this list, so that both always get the same treatment.
*/}}
{{- define "osm.components" -}}
osmController: osm-controller
injector: osm-injector
{{- end }}

{{/*
mesh-namespace tells meshes of the same name apart, also on cluster-scoped objects and on the hook's objects, which Helm does
not annotate: osm deletes and replaces only what names its own mesh and namespace.
*/}}
{{- define "osm.labels" -}}
app.kubernetes.io/name: openservicemesh.io
app.kubernetes.io/instance: {{ .Values.osm.meshName | toYaml }}
app.kubernetes.io/version: {{ .Chart.AppVersion | toYaml }}
openservicemesh.io/mesh-namespace: {{ .Release.Namespace | toYaml }}
{{- end }}

{{/* Labels that select one component's pods; immutable in a Deployment. Takes (dict "root" $ "app" name). */}}
{{- define "osm.selectorLabels" -}}
app: {{ .app }}
app.kubernetes.io/name: openservicemesh.io
app.kubernetes.io/instance: {{ .root.Values.osm.meshName | toYaml }}
{{- end }}

{{/*
The control-plane image, by its tag, its digest or both. With a digest the tag is informational: the container
runtime pulls the digest. Without either, the tag is the chart's version.
*/}}
{{- define "osm.image" -}}
{{- $image := .Values.osm.image -}}
{{- $tag := $image.tag | default (ternary "" .Chart.AppVersion (ne $image.digest.osmControlPlane "")) -}}
{{ trimSuffix "/" $image.registry }}/{{ $image.name.osmControlPlane }}
{{- with $tag }}:{{ . }}{{ end }}
{{- with $image.digest.osmControlPlane }}@{{ . }}{{ end }}
{{- end }}

{{- define "osm.imagePullSecrets" -}}
{{- with .Values.osm.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The minimum number of replicas of a component: the HPA minimum, or the number of replicas without HPA. Unset means 1, or 2 with the
disruption budget, which would block every drain at 1. Takes the component's values.
*/}}
{{- define "osm.replicaFloor" -}}
{{- $explicit := ternary .autoScale.minReplicas .replicaCount .autoScale.enable -}}
{{- if kindIs "invalid" $explicit -}}
{{ ternary 2 1 .enablePodDisruptionBudget }}
{{- else -}}
{{ int $explicit }}
{{- end -}}
{{- end }}

{{/*
CustomResourceDefinitions that the install hook applies. This list only limits what the hook may patch; the
definitions themselves are in the control-plane image.
*/}}
{{- define "osm.customResourceDefinitions" -}}
- meshconfigs.config.openservicemesh.io
- meshrootcertificates.config.openservicemesh.io
{{- end }}

{{/*
A quantity such as 500m or 1Gi as a number of thousandths. A suffix counts by its factor; without one it is 1.
*/}}
{{- define "osm.thousandths" -}}
{{- $text := ternary (printf "%.3f" (float64 .)) (toString .) (or (kindIs "float64" .) (kindIs "int64" .) (kindIs "int" .)) -}}
{{- $number := regexFind "^[0-9.]+" $text -}}
{{- $factors := dict "m" 1 "k" 1000000 "Ki" 1024000 "M" 1000000000 "Mi" 1048576000 "G" 1000000000000 "Gi" 1073741824000 "T" 1000000000000000 "Ti" 1099511627776000 -}}
{{- mulf (float64 $number) (float64 (get $factors (trimPrefix $number $text) | default 1000)) | printf "%.0f" -}}
{{- end }}
