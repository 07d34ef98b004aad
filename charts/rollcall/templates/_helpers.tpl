{{- define "rollcall.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters: the policies' names are built on it. */}}
{{- define "rollcall.fullname" -}}
{{- $name := include "rollcall.name" . -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "rollcall.selectorLabels" -}}
app.kubernetes.io/name: {{ include "rollcall.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rollcall.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "rollcall.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* The user that the controller is to the API server. */}}
{{- define "rollcall.operator" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "rollcall.fullname" . }}
{{- end }}

{{- /* The kinds of an organization: all but the cluster-scoped identityclasses. */}}
{{- define "rollcall.namespacedKinds" -}}
[verifieddomains, ssoconnections, directorysyncs, directoryteams]
{{- end }}

{{- define "rollcall.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- define "rollcall.publicURL" -}}
{{- if not .Values.publicURL -}}
{{ fail "publicURL is missing: set it to the address people and company IdPs reach the gateway at, for example --set publicURL=https://login.platform.example" }}
{{- end -}}
{{- if not (regexMatch "^https://[^/?#@[:space:]]+/?$" .Values.publicURL) -}}
{{ fail (printf "publicURL is %q: write https://, a host, and a port if it isn't 443, without a path, for example https://login.platform.example; company IdPs send people and tokens there" .Values.publicURL) }}
{{- end -}}
{{ trimSuffix "/" .Values.publicURL }}
{{- end }}

{{- define "rollcall.replicas" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.postgresql.secretName) -}}
{{ fail (printf "replicas is %d, but the ledger is a SQLite database on one volume, which only one pod may use: set postgresql.secretName too, or replicas to 1" (int .Values.replicas)) }}
{{- end -}}
{{ .Values.replicas }}
{{- end }}

{{- /* What both containers have in common. Takes the root and the container's health port. */}}
{{- define "rollcall.container" -}}
{{- $root := index . 0 -}}
{{- $health := index . 1 -}}
image: {{ include "rollcall.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
startupProbe: # until the ledger's migrations are through
  httpGet: {path: /healthz, port: {{ $health }}}
  periodSeconds: 2
  failureThreshold: 90
livenessProbe:
  httpGet: {path: /healthz, port: {{ $health }}}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: {{ $health }}}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{- define "rollcall.commonEnv" -}}
{{- if .Values.postgresql.secretName }}
- name: ROLLCALL_LEDGER
  valueFrom: {secretKeyRef: {name: {{ .Values.postgresql.secretName }}, key: {{ .Values.postgresql.secretKey }}}}
{{- else }}
- {name: ROLLCALL_LEDGER, value: /var/lib/rollcall/ledger.db}
{{- end }}
- {name: ROLLCALL_PUBLIC_URL, value: {{ include "rollcall.publicURL" . | quote }}}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "rollcall.commonMounts" -}}
{{- if not .Values.postgresql.secretName }}
- {name: ledger, mountPath: /var/lib/rollcall}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* A policy's binding: it denies, everywhere. Takes the root and the policy's short name. */}}
{{- define "rollcall.policyBinding" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-%s" (include "rollcall.fullname" $root) (index . 1) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels: {{- include "rollcall.labels" $root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
{{- end }}

{{- /* Match condition: the request is the controller's own. */}}
{{- define "rollcall.isOperator" -}}
request.userInfo.username == '{{ include "rollcall.operator" . }}'
{{- end }}

{{- /* Whether an object, of the given CEL name, carries the mark of what Rollcall made. */}}
{{- define "rollcall.marked" -}}
{{ . }}.metadata.?labels['app.kubernetes.io/managed-by'].orValue('') == 'rollcall'
{{- end }}
