{{- define "tributary.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "tributary.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "tributary.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tributary.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A size for a flag: with its unit, or a number of bytes, which gets one. Large numbers come here as floats. */}}
{{- define "tributary.bytes" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ int64 . }}B{{- end -}}
{{- end -}}

{{/* The rest takes a dict: root, role, and of = the values of that role. */}}

{{- define "tributary.selector" -}}
app.kubernetes.io/name: {{ include "tributary.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "tributary.labels" -}}
{{ include "tributary.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "tributary.metadata" -}}
name: {{ include "tributary.fullname" .root }}-{{ .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "tributary.labels" . | nindent 2 }}
{{- end -}}

{{- define "tributary.serviceAccountName" -}}
{{- if .of.serviceAccount.create -}}
{{- default (printf "%s-%s" (include "tributary.fullname" .root) .role) .of.serviceAccount.name -}}
{{- else -}}
{{- default "default" .of.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tributary.image" -}}
{{- with .root.Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.root.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tributary.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "tributary.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tributary.labels" . | nindent 4 }}
  {{- with .of.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
# The worker never calls Kubernetes. The token for AWS is a separate volume.
automountServiceAccountToken: false
{{- end -}}

{{- define "tributary.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tributary.selector" . | nindent 6 }}
{{- end -}}

{{- define "tributary.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  {{- if not (and (eq .role "consume") .root.Values.autoscaling.enabled) }}
  replicas: {{ .of.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 25%
  selector:
    matchLabels:
      {{- include "tributary.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "tributary.labels" . | nindent 8 }}
        {{- with .of.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if or .root.Values.types .of.podAnnotations }}
      annotations:
        {{- with .root.Values.types }}
        # Other types are another template: the pods roll.
        checksum/types: {{ sha256sum . }}
        {{- end }}
        {{- with .of.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "tributary.serviceAccountName" . }}
      automountServiceAccountToken: false
      # Above the drain timeout, and the lame duck's before it: stopping costs nothing only if it may finish.
      terminationGracePeriodSeconds: {{ add .of.drainTimeoutSeconds (trimSuffix "s" (default "0s" .of.lameDuck)) 15 }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      {{- with .root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: worker
          image: {{ include "tributary.image" . | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [run]
          env:
            - {name: TRIBUTARY_ROLE, value: {{ .role }}}
            - {name: TRIBUTARY_TABLE, value: {{ .root.Values.table | quote }}}
            - {name: TRIBUTARY_ADMIN_LISTEN, value: "0.0.0.0:9090"}
            {{- if .root.Values.types }}
            - {name: TRIBUTARY_TYPES, value: /etc/tributary/types/types.yaml}
            {{- end }}
            {{- if .root.Values.pprof }}
            - {name: TRIBUTARY_PPROF, value: "true"}
            {{- end }}
            - {name: TRIBUTARY_DRAIN_TIMEOUT, value: {{ printf "%ds" (int .of.drainTimeoutSeconds) }}}
            - {name: TRIBUTARY_LOG_LEVEL, value: {{ .root.Values.log.level }}}
            - {name: TRIBUTARY_LOG_FORMAT, value: {{ .root.Values.log.format }}}
            {{- if eq .role "consume" }}
            - {name: TRIBUTARY_QUEUE, value: {{ .root.Values.queue | quote }}}
            {{- with .root.Values.deadLetterQueue }}
            - {name: TRIBUTARY_DLQ, value: {{ . | quote }}}
            {{- end }}
            - {name: TRIBUTARY_WRITERS, value: {{ .of.writers | int | quote }}}
            - {name: TRIBUTARY_MAX_IN_FLIGHT, value: {{ .of.maxInFlight | int | quote }}}
            - {name: TRIBUTARY_MAX_IN_FLIGHT_BYTES, value: {{ include "tributary.bytes" .of.maxInFlightBytes | quote }}}
            - {name: TRIBUTARY_LINGER, value: {{ .of.linger }}}
            - {name: TRIBUTARY_REQUIRE_VERSION, value: {{ .of.requireVersion | quote }}}
            - {name: TRIBUTARY_METRICS_TENANTS, value: {{ .of.metricsTenants | int | quote }}}
            {{- else }}
            - {name: TRIBUTARY_LISTEN, value: "0.0.0.0:8080"}
            - {name: TRIBUTARY_LAME_DUCK, value: {{ .of.lameDuck }}}
            {{- with .of.auth.jwks }}
            - {name: TRIBUTARY_AUTH_JWKS, value: {{ . | quote }}}
            - {name: TRIBUTARY_AUTH_ISSUER, value: {{ $.of.auth.issuer | quote }}}
            - {name: TRIBUTARY_AUTH_AUDIENCE, value: {{ $.of.auth.audience | quote }}}
            {{- end }}
            {{- with .of.auth.operator }}
            - {name: TRIBUTARY_AUTH_OPERATOR, value: {{ . | quote }}}
            {{- end }}
            - {name: TRIBUTARY_QUERY_MEMORY, value: {{ include "tributary.bytes" .of.memory | quote }}}
            {{- if .of.auth.tokensSecret }}
            - {name: TRIBUTARY_AUTH_TOKENS, value: /etc/tributary/tokens/tokens}
            {{- end }}
            {{- with .of.readerRole }}
            - {name: TRIBUTARY_READER_ROLE, value: {{ . | quote }}}
            {{- end }}
            {{- if .of.tlsSecret }}
            - {name: TRIBUTARY_TLS_CERT, value: /etc/tributary/tls/tls.crt}
            - {name: TRIBUTARY_TLS_KEY, value: /etc/tributary/tls/tls.key}
            {{- end }}
            {{- end }}
            {{- with .root.Values.aws.region }}
            - {name: AWS_REGION, value: {{ . | quote }}}
            {{- end }}
            {{- with .root.Values.aws.endpointURL }}
            - {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
            {{- end }}
            {{- with .root.Values.tracing }}
            {{- if .endpoint }}
            - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
            - {name: OTEL_TRACES_SAMPLER, value: {{ .sampler }}}
            - {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .samplerArgument | quote }}}
            {{- end }}
            {{- end }}
            {{- with .of.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - {name: admin, containerPort: 9090, protocol: TCP}
            {{- if eq .role "query" }}
            - {name: query, containerPort: 8080, protocol: TCP}
            {{- end }}
          livenessProbe:
            httpGet: {path: /healthz, port: admin}
            periodSeconds: 15
            timeoutSeconds: 5
            failureThreshold: 4
          readinessProbe:
            httpGet: {path: /readyz, port: admin}
            periodSeconds: 5
            timeoutSeconds: 3
          {{- with .of.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          {{- $secrets := and (eq .role "query") (or .of.auth.tokensSecret .of.tlsSecret) }}
          {{- if or .root.Values.types $secrets }}
          volumeMounts:
            {{- if .root.Values.types }}
            - {name: types, mountPath: /etc/tributary/types, readOnly: true}
            {{- end }}
            {{- if $secrets }}
            {{- if .of.auth.tokensSecret }}
            - {name: tokens, mountPath: /etc/tributary/tokens, readOnly: true}
            {{- end }}
            {{- if .of.tlsSecret }}
            - {name: tls, mountPath: /etc/tributary/tls, readOnly: true}
            {{- end }}
            {{- end }}
          {{- end }}
      {{- if or .root.Values.types $secrets }}
      volumes:
        {{- if .root.Values.types }}
        - name: types
          configMap: {name: {{ include "tributary.fullname" .root }}-types}
        {{- end }}
        {{- if $secrets }}
        {{- with .of.auth.tokensSecret }}
        - name: tokens
          secret: {secretName: {{ . | quote }}, defaultMode: 0440}
        {{- end }}
        {{- with .of.tlsSecret }}
        - name: tls
          secret: {secretName: {{ . | quote }}, defaultMode: 0440}
        {{- end }}
        {{- end }}
      {{- end }}
      {{- with .of.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
{{- end -}}

{{/* For scraping. Where there are queries it is a Service apart: whatever exposes them must not expose the admin port, and
must not hide it from Prometheus either. */}}
{{- define "tributary.adminService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "tributary.fullname" .root }}-{{ .role }}{{ if eq .role "query" }}-admin{{ end }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tributary.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- include "tributary.selector" . | nindent 4 }}
  ports:
    - {name: admin, port: 9090, targetPort: admin, protocol: TCP}
{{- end -}}

{{- define "tributary.queryService" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
  {{- with .of.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ .of.service.type }}
  selector:
    {{- include "tributary.selector" . | nindent 4 }}
  ports:
    - {name: query, port: {{ .of.service.port }}, targetPort: query, protocol: TCP}
{{- end -}}

{{- define "tributary.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tributary.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  {{- $admin := .root.Values.networkPolicy.adminFrom }}
  {{- if or $admin (eq .role "query") }}
  ingress:
    {{- with $admin }}
    - ports:
        - {port: admin, protocol: TCP}
      from:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- if eq .role "query" }}
    - ports:
        - {port: query, protocol: TCP}
      {{- with .root.Values.networkPolicy.queryFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
  {{- else }}
  ingress: []
  {{- end }}
  egress:
    - ports:
        - {port: 53, protocol: UDP}
        - {port: 53, protocol: TCP}
    - ports:
        - {port: 443, protocol: TCP}
    {{- $urls := list .root.Values.tracing.endpoint .root.Values.aws.endpointURL }}
    {{- if eq .role "query" }}{{ $urls = append $urls .of.auth.jwks }}{{ end }}
    {{- $ports := list }}
    {{- range $urls }}
    {{- with . | regexFind "^https?://[^/?#]+" }}
    {{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" .) | default (ternary "443" "80" (hasPrefix "https:" .)) }}
    {{- if ne $port "443" }}{{ $ports = append $ports $port }}{{ end }}
    {{- end }}
    {{- end }}
    {{- with uniq $ports }}
    - ports:
        {{- range . }}
        - {port: {{ . }}, protocol: TCP}
        {{- end }}
    {{- end }}
    # EKS Pod Identity's agent ("Understand how EKS Pod Identity works").
    - ports:
        - {port: 80, protocol: TCP}
      to:
        - ipBlock: {cidr: 169.254.170.23/32}
    {{- with .root.Values.networkPolicy.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
