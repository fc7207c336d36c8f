"""Field names as they are published, of the kinds that jobs/ uses.

RayJob and what is below it: KubeRay v1.4, docs/reference/api.md (commit 0057210e), group ray.io/v1.
All others: the Kubernetes API reference v1.31, groups batch/v1 and core/v1, without what is alpha there.

A value names the kind of the field's own value (of each of them, where it is a list), or is empty where any
value will do.
"""

from __future__ import annotations


def _plain(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), "")


_METADATA = _plain("name generateName namespace labels annotations finalizers ownerReferences")

FIELDS: dict[str, dict[str, str]] = {
    "RayJob": {"apiVersion": "", "kind": "", "metadata": "ObjectMeta", "spec": "RayJobSpec"},
    "RayJobSpec": {
        **_plain(
            "activeDeadlineSeconds backoffLimit metadata clusterSelector submitterConfig managedBy "
            "deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
            "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished shutdownAfterJobFinishes suspend"
        ),
        "rayClusterSpec": "RayClusterSpec",
        "submitterPodTemplate": "PodTemplateSpec",
    },
    "RayClusterSpec": {
        **_plain(
            "suspend managedBy autoscalerOptions headServiceAnnotations enableInTreeAutoscaling "
            "gcsFaultToleranceOptions rayVersion"
        ),
        "headGroupSpec": "HeadGroupSpec",
        "workerGroupSpecs": "WorkerGroupSpec",
    },
    "HeadGroupSpec": {
        **_plain("headService enableIngress rayStartParams serviceType"),
        "template": "PodTemplateSpec",
    },
    "WorkerGroupSpec": {
        **_plain(
            "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds rayStartParams "
            "scaleStrategy numOfHosts"
        ),
        "template": "PodTemplateSpec",
    },
    "CronJob": {"apiVersion": "", "kind": "", "metadata": "ObjectMeta", "spec": "CronJobSpec"},
    "CronJobSpec": {
        **_plain(
            "schedule timeZone startingDeadlineSeconds concurrencyPolicy suspend "
            "successfulJobsHistoryLimit failedJobsHistoryLimit"
        ),
        "jobTemplate": "JobTemplateSpec",
    },
    "JobTemplateSpec": {"metadata": "ObjectMeta", "spec": "JobSpec"},
    "JobSpec": {
        **_plain(
            "parallelism completions completionMode backoffLimit backoffLimitPerIndex maxFailedIndexes "
            "activeDeadlineSeconds ttlSecondsAfterFinished suspend selector manualSelector "
            "podReplacementPolicy managedBy successPolicy"
        ),
        "podFailurePolicy": "PodFailurePolicy",
        "template": "PodTemplateSpec",
    },
    "PodFailurePolicy": {"rules": "PodFailurePolicyRule"},
    "PodFailurePolicyRule": {
        "action": "",
        "onExitCodes": "PodFailurePolicyOnExitCodes",
        "onPodConditions": "",
    },
    "PodFailurePolicyOnExitCodes": _plain("containerName operator values"),
    "ConfigMap": {**_plain("apiVersion kind data binaryData immutable"), "metadata": "ObjectMeta"},
    "ObjectMeta": _METADATA,
    "PodTemplateSpec": {"metadata": "ObjectMeta", "spec": "PodSpec"},
    "PodSpec": {
        **_plain(
            "activeDeadlineSeconds affinity automountServiceAccountToken dnsConfig dnsPolicy "
            "enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers "
            "hostname imagePullSecrets nodeName nodeSelector os overhead preemptionPolicy priority "
            "priorityClassName readinessGates resourceClaims restartPolicy runtimeClassName schedulerName "
            "schedulingGates securityContext serviceAccount serviceAccountName setHostnameAsFQDN "
            "shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations "
            "topologySpreadConstraints"
        ),
        "containers": "Container",
        "initContainers": "Container",
        "volumes": "Volume",
    },
    "Container": {
        **_plain(
            "args command envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe "
            "resizePolicy restartPolicy securityContext startupProbe stdin stdinOnce "
            "terminationMessagePath terminationMessagePolicy tty volumeDevices workingDir"
        ),
        "env": "EnvVar",
        "resources": "ResourceRequirements",
        "volumeMounts": "VolumeMount",
    },
    "EnvVar": {"name": "", "value": "", "valueFrom": "EnvVarSource"},
    "EnvVarSource": {
        **_plain("configMapKeyRef fieldRef resourceFieldRef"),
        "secretKeyRef": "SecretKeySelector",
    },
    "SecretKeySelector": _plain("name key optional"),
    "ResourceRequirements": _plain("claims limits requests"),
    "VolumeMount": _plain("mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr"),
    "Volume": {
        **_plain(
            "name awsElasticBlockStore azureDisk azureFile cephfs cinder csi downwardAPI emptyDir ephemeral "
            "fc flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath iscsi nfs "
            "photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos "
            "vsphereVolume"
        ),
        "configMap": "ConfigMapVolumeSource",
        "persistentVolumeClaim": "PersistentVolumeClaimVolumeSource",
    },
    "ConfigMapVolumeSource": _plain("defaultMode items name optional"),
    "PersistentVolumeClaimVolumeSource": _plain("claimName readOnly"),
}
