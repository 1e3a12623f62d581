package main

import (
	"context"
	"fmt"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-helpers/apimachinery/lease"
	"k8s.io/utils/clock"
)

// keepNode registers a node that runs nothing, and keeps it alive until this process ends.
// When the only node is lost, the control plane takes itself for the one that is cut off and evicts nothing: it needs a witness.
func keepNode(kubeconfig, name string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("use %s: %w", kubeconfig, err)
	}
	nodes := client.CoreV1().Nodes()
	node := &core.Node{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec:       core.NodeSpec{Taints: []core.Taint{{Key: "slipway.dev/runs-nothing", Effect: core.TaintEffectNoSchedule}}},
	}
	if _, err := nodes.Create(context.Background(), node, meta.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node %s: %w", name, err)
	}
	ready := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KeptAlive","lastHeartbeatTime":%q}]}}`, time.Now().UTC().Format(time.RFC3339))
	if _, err := nodes.PatchStatus(context.Background(), name, ready); err != nil {
		return fmt.Errorf("declare node %s ready: %w", name, err)
	}
	lease.NewController(clock.RealClock{}, client, name, 20, nil, 5*time.Second, name, core.NamespaceNodeLease, nil).Run(context.Background())
	return nil
}

func keepNodeMain(arguments []string) int {
	if len(arguments) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s KUBECONFIG NODE\n", arguments[0])
		return 64
	}
	if err := keepNode(arguments[1], arguments[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
