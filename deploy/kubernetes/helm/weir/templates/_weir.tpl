{{/*
Weir as a native sidecar. A chart that includes these gives them the root context; what differs from the defaults below
is under `weir` in its values.

  initContainers: {{- include "weir.container" . | nindent 8 }}
  volumes:        {{- include "weir.volume" . | nindent 8 }}
  terminationGracePeriodSeconds: {{ include "weir.gracePeriod" . }}
  (a file of its own) {{ include "weir.configMap" . }}
*/}}

{{- define "weir.defaults" -}}
image: { repository: weir, tag: 0.1.0, pullPolicy: IfNotPresent }
port: 8080
probesPort: 9902
env: []
resources:
  requests: { cpu: 50m, memory: 32Mi }
  limits: { memory: 128Mi }
shutdown: { preStopSeconds: 5, appSeconds: 25, delaySeconds: 0, drainSeconds: 5 }
upstream: 127.0.0.1:3000
clientIp: {} # behind an ingress: { trust: [NETWORK OF ITS PODS] }
accept: [] # what `weir check --production` says, and is meant
redis: {} # for policies with `store: redis`: { url: ... }
policies: {}
routes: []
{{- end }}

{{/* The defaults with what the app says over them, as YAML. */}}
{{- define "weir.values" -}}
{{- mergeOverwrite (fromYaml (include "weir.defaults" .)) (deepCopy (.Values.weir | default dict)) | toYaml -}}
{{- end }}

{{- define "weir.name" -}}
{{ .Release.Name }}-weir
{{- end }}

{{- define "weir.container" -}}
{{- $w := fromYaml (include "weir.values" .) -}}
- name: weir
  image: {{ printf "%s:%s" $w.image.repository (toString $w.image.tag) | quote }}
  imagePullPolicy: {{ $w.image.pullPolicy }}
  restartPolicy: Always
  args: [run, -c, /etc/weir/weir.yaml, --watch]
  {{- with $w.env }}
  env: {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - { name: http, containerPort: {{ $w.port }} }
    - { name: probes, containerPort: {{ $w.probesPort }} }
  startupProbe:
    httpGet: { path: /ready, port: probes }
    periodSeconds: 1
    failureThreshold: 30
  readinessProbe:
    httpGet: { path: /ready, port: probes }
    periodSeconds: 2
    failureThreshold: 1
  livenessProbe:
    httpGet: { path: /live, port: probes }
    periodSeconds: 10
    timeoutSeconds: 3
  resources: {{- toYaml $w.resources | nindent 4 }}
  securityContext:
    runAsUser: 65532
    runAsGroup: 65532
    runAsNonRoot: true
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  volumeMounts:
    - { name: weir, mountPath: /etc/weir, readOnly: true }
{{- end }}

{{- define "weir.volume" -}}
- name: weir
  configMap: { name: {{ include "weir.name" . }} }
{{- end }}

{{/* All that may pass between the deletion of the pod and its end, and five seconds. */}}
{{- define "weir.gracePeriod" -}}
{{- $s := (fromYaml (include "weir.values" .)).shutdown -}}
{{- add $s.preStopSeconds $s.appSeconds $s.delaySeconds $s.drainSeconds 5 -}}
{{- end }}

{{- define "weir.configMap" -}}
{{- $w := fromYaml (include "weir.values" .) -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "weir.name" . }}
data:
  weir.yaml: |
    version: 1
    {{- with $w.accept }}
    accept: {{ toJson . }}
    {{- end }}
    {{- with $w.clientIp }}
    client_ip: {{ toJson . }}
    {{- end }}
    listen: 0.0.0.0:{{ $w.port }}
    probes: 0.0.0.0:{{ $w.probesPort }}
    admin: 127.0.0.1:9901
    shutdown: { delay: {{ $w.shutdown.delaySeconds }}s, drain: {{ $w.shutdown.drainSeconds }}s }
    upstreams:
      app: {{ $w.upstream }}
    {{- with $w.redis }}
    redis: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $w.policies }}
    policies: {{- toYaml . | nindent 6 }}
    {{- end }}
    routes:
      - { name: health, match: { path: /healthz }, to: app }
      {{- range $w.routes }}
      - {{- toYaml . | nindent 8 }}
      {{- else }}
      - name: app
        to: app
        {{- with $w.policies }}
        use: {{ keys . | sortAlpha | toJson }}
        {{- end }}
      {{- end }}
{{- end }}
