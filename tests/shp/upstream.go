package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	lease          = "shipwright-build-controller-lock"
	leaseNamespace = "shipwright-build"
)

// upstream does what others see of an installed controller of upstream's, for the runs of one namespace: it takes the lease, and of each run
// that names no TaskRun it makes a pod, and writes such names and what becomes of it. As with upstream the pod is not the run's own,
// and the lease is not given back when it ends.
func upstream(ctx context.Context, client *client, _ *invocation) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: lease, Namespace: leaseNamespace},
		Client:     client.core.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}
	var failed error
	ctx, stop := context.WithCancel(ctx)
	leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
		Lock:          lock,
		LeaseDuration: 15 * time.Second,
		RenewDeadline: 10 * time.Second,
		RetryPeriod:   2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				fmt.Println("leading")
				failed = lead(ctx, client)
				stop()
			},
			OnStoppedLeading: func() {},
		},
	})
	return failed
}

func lead(ctx context.Context, client *client) error {
	for {
		runs, err := client.buildRuns(ctx, "")
		if err == nil {
			err = bringForward(ctx, client, runs)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func bringForward(ctx context.Context, client *client, runs []buildRun) error {
	for _, run := range runs {
		var err error
		switch {
		case run.isDone():
		case run.Status.TaskRunName == nil:
			err = begin(ctx, client, &run)
		default:
			err = observe(ctx, client, &run)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("BuildRun %s: %w", run.Metadata.Name, err)
		}
	}
	return nil
}

// begin makes a pod that ends when somebody makes the file /tmp/go, well where the file says so.
func begin(ctx context.Context, client *client, run *buildRun) error {
	if run.Spec.Build.Name == nil {
		return errors.New("only runs of a Build are played")
	}
	found, err := client.build(ctx, *run.Spec.Build.Name)
	if err != nil {
		return err
	}
	labels := map[string]string{buildLabel: *run.Spec.Build.Name, buildRunLabel: run.Metadata.Name}
	name := run.Metadata.Name + "-" + string(uuid.NewUUID())[:5]
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-pod", Labels: labels},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name:    "step-script",
				Image:   "docker.io/library/busybox:1.37",
				Command: []string{"sh", "-euc", "until test -e /tmp/go; do sleep 0.1; done; grep well /tmp/go"},
			}},
		},
	}
	if _, err := client.core.CoreV1().Pods(client.namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := client.patch(ctx, types.MergePatchType, map[string]any{"metadata": map[string]any{"labels": map[string]string{buildLabel: labels[buildLabel]}}}, "buildruns", run.Metadata.Name); err != nil {
		return err
	}
	now := metav1.Now()
	status := buildRunStatus{
		Executor:    &executor{Name: name, Kind: "TaskRun"},
		TaskRunName: &name,
		BuildSpec:   &found.Spec,
		StartTime:   &now,
		Conditions:  conditions("Unknown", "Running", "Not all Steps in the Task have finished executing"),
	}
	return writeStatus(ctx, client, run, status)
}

func observe(ctx context.Context, client *client, run *buildRun) error {
	pod, err := client.core.CoreV1().Pods(client.namespace).Get(ctx, *run.Status.TaskRunName+"-pod", metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	status := buildRunStatus{CompletionTime: &now}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		status.Conditions = conditions("True", "Succeeded", "All Steps have completed executing")
	case corev1.PodFailed:
		status.Conditions = conditions("False", "Failed", "the step failed")
	default:
		return nil
	}
	return writeStatus(ctx, client, run, status)
}

func conditions(status, reason, message string) []condition {
	return []condition{{Type: "Succeeded", Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
}

func writeStatus(ctx context.Context, client *client, run *buildRun, status buildRunStatus) error {
	return client.patch(ctx, types.MergePatchType, map[string]any{"status": status}, "buildruns", run.Metadata.Name, "status")
}
