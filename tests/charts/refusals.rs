//! Bad values are refused with the field's name, by the schema, and where values do not fit each other by the chart.

use crate::cases::chart;
use crate::helm::Helm;

/// Values, and what the refusal must name: the place, as the schema's messages or the chart's own have it.
const BAD_VALUES: [(&str, &str); 47] = [
    ("gateway.replicas=0", "/gateway/replicas"),
    ("gateway.replicas=two", "/gateway/replicas"),
    ("gateway.enabled=maybe", "/gateway/enabled"),
    ("gateway.image.digest=sha256:123", "/gateway/image/digest"),
    ("gateway.image.pullPolicy=Sometimes", "/gateway/image/pullPolicy"),
    ("gateway.image.repository=", "/gateway/image/repository"),
    ("gateway.labels.istio=not ok", "/gateway/labels/istio"),
    ("gateway.labels.app\\.kubernetes\\.io/name=other", "/gateway/labels/app.kubernetes.io~1name"),
    ("gateway.podLabels.app\\.kubernetes\\.io/component=other", "/gateway/podLabels/app.kubernetes.io~1component"),
    ("gateway.service.type=ExternalName", "/gateway/service/type"),
    ("gateway.service.externalTrafficPolicy=local", "/gateway/service/externalTrafficPolicy"),
    ("gateway.service.loadBalancerSourceRanges={10.0.0.1}", "/gateway/service/loadBalancerSourceRanges/0"),
    ("gateway.service.ports[0].port=0", "/gateway/service/ports/0/port"),
    ("gateway.service.ports[0].targetPort=80", "/gateway/service/ports/0/targetPort"),
    ("gateway.service.ports[0].nodePort=65536", "/gateway/service/ports/0/nodePort"),
    ("gateway.service.ports[0].name=status", "/gateway/service/ports/0/name"),
    ("gateway.service.azure.idleTimeoutMinutes=2", "/gateway/service/azure/idleTimeoutMinutes"),
    ("gateway.service.azure.ipv4=10.0.0", "/gateway/service/azure/ipv4"),
    ("gateway.bindAddress=127.0.0.1", "/gateway/bindAddress"),
    ("gateway.statusPort=80", "/gateway/statusPort"),
    ("gateway.drain.preStopSleepSeconds=-1", "/gateway/drain/preStopSleepSeconds"),
    ("gateway.drain.marginSeconds=0", "/gateway/drain/marginSeconds"),
    ("gateway.tls.credentialNames={a,a}", "/gateway/tls/credentialNames"),
    ("gateway.tls.credentialNames={../etc}", "/gateway/tls/credentialNames/0"),
    ("gateway.settings.accessLog=false", "/gateway/settings/accessLog"),
    ("gateway.settings.trustedProxies={proxy}", "/gateway/settings/trustedProxies/0"),
    ("gateway.settings.maxHeaders=0", "/gateway/settings/maxHeaders"),
    ("gateway.settings.upstreamIdleTimeoutMs=4s", "/gateway/settings/upstreamIdleTimeoutMs"),
    ("gateway.extraArgs={max-headers=3}", "/gateway/extraArgs/0"),
    ("gateway.podDisruptionBudget.maxUnavailable=0", "/gateway/podDisruptionBudget/maxUnavailable"),
    ("gateway.topologySpread.zone=Always", "/gateway/topologySpread/zone"),
    ("gateway.resources.limits.memory=lots", "/gateway/resources/limits/memory"),
    ("controller.replicas=3", "/controller/replicas"),
    ("controller.logFormat=xml", "/controller/logFormat"),
    ("namespaces={Abtesting}", "/namespaces/0"),
    ("namespaces={a,a}", "/namespaces"),
    ("managedWorkloads.namespaces={Abtesting}", "/managedWorkloads/namespaces/0"),
    ("documents.source=both", "/documents/source"),
    ("documents.inline.routes=x", "/documents/inline"),
    ("registry=dns", "/registry"),
    ("cleanup.timeoutSeconds=5", "/cleanup/timeoutSeconds"),
    ("networkPolicy.apiServerPorts={0}", "/networkPolicy/apiServerPorts/0"),
    ("networkPolicy.prometheusNamespaces={Metrics}", "/networkPolicy/prometheusNamespaces/0"),
    ("monitoring.serviceMonitor.interval=15", "/monitoring/serviceMonitor/interval"),
    ("monitoring.prometheusRule.errorRatio=5", "/monitoring/prometheusRule/errorRatio"),
    ("test.path=score", "/test/path"),
    ("nameOverride=Turnout", "/nameOverride"),
];

/// Values that are well by themselves and do not fit each other, and what the refusal says.
const MISFITS: [(&str, &str); 14] = [
    ("gateway.terminationGracePeriodSeconds=49", "gateway.terminationGracePeriodSeconds: 49 is too short"),
    ("gateway.drain.timeoutSeconds=60,gateway.terminationGracePeriodSeconds=84", "gateway.drain sum up to 85"),
    ("gateway.service.ports[0].targetPort=8443", "gateway.service.ports: targetPort 8443 is taken"),
    ("gateway.service.ports[0].targetPort=15021", "gateway.service.ports: targetPort 15021 is taken"),
    ("gateway.service.ports[0].port=443", "gateway.service.ports: port 443 stands there twice"),
    ("gateway.service.ports[0].name=https", "gateway.service.ports: name https stands there twice"),
    ("gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=11", "gateway.autoscaling.minReplicas: 11"),
    (
        "gateway.autoscaling.enabled=true,gateway.autoscaling.targetCPUUtilizationPercentage=0",
        "gateway.autoscaling: name a target",
    ),
    ("gateway.service.azure.healthProbe.protocol=http", "gateway.service.azure.healthProbe.path"),
    ("gateway.service.azure.internalSubnet=a", "gateway.service.azure.internalSubnet: only an internal"),
    ("managedWorkloads.enabled=true", "managedWorkloads.namespaces has taken its place"),
    ("managedWorkloads.enabled=false", "managedWorkloads.namespaces has taken its place"),
    ("managedWorkloads.namespaces={a},namespaces={b}", "managedWorkloads.namespaces: a is not governed"),
    ("gateway.enabled=false,documents.inline.a\\.yaml=x", "documents.inline: without a gateway"),
];

fn ports_and(value: &str) -> String {
    // A list's entry cannot be set alone: the others would be gone.
    if !value.starts_with("gateway.service.ports[") {
        return value.to_owned();
    }
    let port = |index: usize, name: &str, port: u16, target: u16| {
        let entry = format!("gateway.service.ports[{index}]");
        format!("{entry}.name={name},{entry}.port={port},{entry}.targetPort={target}")
    };
    format!("{},{},{value}", port(0, "http", 80, 8080), port(1, "https", 443, 8443))
}

fn check(helm: &Helm, value: &str, named: &str) {
    match helm.template(&chart(), &["--set", &ports_and(value)]) {
        Err(refusal) => assert!(refusal.contains(named), "{value}: {refusal}"),
        Ok(_) => panic!("{value}: is accepted"),
    }
}

#[test]
fn a_bad_value_is_refused_by_its_name() {
    let Some(helm) = Helm::find("a_bad_value_is_refused_by_its_name") else { return };
    for (value, place) in BAD_VALUES {
        check(&helm, value, &format!("'{place}'"));
    }
}

#[test]
fn a_value_that_is_taken_away_is_missed_by_its_name() {
    let Some(helm) = Helm::find("a_value_that_is_taken_away_is_missed_by_its_name") else { return };
    check(&helm, "gateway.image.pullPolicy=null", "'/gateway/image': missing property 'pullPolicy'");
    check(&helm, "gateway.service.ports=null", "'/gateway/service': missing property 'ports'");
    check(&helm, "controller=null", "missing property 'controller'");
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    let Some(helm) = Helm::find("values_that_do_not_fit_each_other_are_refused") else { return };
    for (values, message) in MISFITS {
        check(&helm, values, message);
    }
    let sources = "documents.source=objects,documents.inline.a\\.yaml=x";
    check(&helm, sources, "documents.inline: the documents come from objects");
    let sources = "documents.existingConfigMap=mine,documents.inline.a\\.yaml=x";
    check(&helm, sources, "documents.inline: the documents come from documents.existingConfigMap");
}

#[test]
fn an_old_cluster_is_refused() {
    let Some(helm) = Helm::find("an_old_cluster_is_refused") else { return };
    let refusal = helm.template(&chart(), &["--kube-version", "1.29.9"]).unwrap_err();
    assert!(refusal.contains("kubeVersion: >=1.30.0-0"), "{refusal}");
    helm.template(&chart(), &["--kube-version", "1.30.0-aks.1"]).unwrap();
}
