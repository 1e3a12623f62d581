package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func createBuildRun(ctx context.Context, client *client, i *invocation, name string) error {
	if i.buildRef == "" {
		return errors.New(`required flag "buildref-name" not set`)
	}
	run := newBuildRun(objectMeta{Name: name}, i.buildRef)
	run.Spec.ServiceAccount = text(i.serviceAccount)
	run.Spec.Timeout = duration(i.timeout)
	run.Spec.Retention = i.retention()
	if i.outputImage != "" {
		run.Spec.Output = &image{Image: i.outputImage, PushSecret: text(i.pushSecret)}
	}
	var err error
	if run.Spec.ParamValues, err = i.params(); err != nil {
		return err
	}
	if err = client.create(ctx, "buildruns", run, run); err != nil {
		return err
	}
	fmt.Printf("BuildRun created %q for Build %q\n", name, i.buildRef)
	return nil
}

// listBuildRuns takes the status for complete, as the stock client does: a source of Git without its details ends the program.
func listBuildRuns(ctx context.Context, client *client, i *invocation) error {
	if err := client.requireNamespace(ctx); err != nil {
		return err
	}
	runs, err := client.buildRuns(ctx, "")
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	if i.wide {
		fmt.Fprintln(table, "NAME\tSTATUS\tAGE\tOUTPUT\tBUILD\tDURATION\tSOURCE")
	} else {
		fmt.Fprintln(table, "NAME\tSTATUS\tAGE")
	}
	for _, run := range runs {
		reason := "Unknown"
		if condition := run.succeeded(); condition != nil {
			reason = condition.Reason
		}
		age := time.Since(run.Metadata.CreationTimestamp.Time).Round(time.Second)
		fmt.Fprintf(table, "%s\t%s\t%s", run.Metadata.Name, reason, age)
		if i.wide {
			fmt.Fprintf(table, "\t%s", strings.Join(run.details(), "\t"))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

func (run *buildRun) details() []string {
	output, build, took, from := "-", "-", "-", "-"
	if spec := run.Status.BuildSpec; spec != nil {
		output = spec.Output.Image
		if spec.Source != nil {
			switch spec.Source.Type {
			case "Git":
				from = spec.Source.Git.URL
			case "OCI":
				from = spec.Source.OCIArtifact.Image
			case "Local":
				from = "local"
			}
		}
	}
	if run.Spec.Build.Name != nil {
		build = *run.Spec.Build.Name
	}
	if run.Status.StartTime != nil && run.Status.CompletionTime != nil {
		took = run.Status.CompletionTime.Sub(run.Status.StartTime.Time).String()
	}
	return []string{output, build, took, from}
}

// cancelBuildRun replaces a path that is not there, which the API server allows.
func cancelBuildRun(ctx context.Context, client *client, _ *invocation, name string) error {
	run, err := client.buildRun(ctx, name)
	if err != nil {
		return err
	}
	if run.isDone() {
		return fmt.Errorf("failed to cancel BuildRun %q: it has already finished", name)
	}
	patch := []map[string]string{{"op": "replace", "path": "/spec/state", "value": canceled}}
	if err := client.patch(ctx, types.JSONPatchType, patch, "buildruns", name); err != nil {
		return err
	}
	fmt.Printf("BuildRun successfully canceled %q\n", name)
	return nil
}

func deleteBuildRun(ctx context.Context, client *client, _ *invocation, name string) error {
	if err := client.delete(ctx, "buildruns", name); err != nil {
		return err
	}
	fmt.Printf("BuildRun deleted %q\n", name)
	return nil
}

// printBuildRunLogs takes the first pod of the run. Without -F it prints all logs or none.
func printBuildRunLogs(ctx context.Context, client *client, i *invocation, name string) error {
	pod, err := firstPod(ctx, client, name)
	if err != nil {
		return err
	}
	isTerminal := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	if i.follow && !isTerminal {
		events := &podEvents{client: client, selector: buildRunLabel + "=" + name}
		followBuildRun(client, events, name)
		return events.handle(ctx)
	}
	var text strings.Builder
	for _, container := range allContainers(pod) {
		log, err := containerLog(ctx, client, pod.Name, container)
		if err != nil {
			return fmt.Errorf("log of container %s: %w", container, err)
		}
		fmt.Fprintf(&text, "*** Pod %q, container %q: ***\n\n%s\n", pod.Name, container, log)
	}
	fmt.Print(text.String())
	return nil
}

func firstPod(ctx context.Context, client *client, run string) (*corev1.Pod, error) {
	options := metav1.ListOptions{LabelSelector: buildRunLabel + "=" + run}
	for range 10 {
		pods, err := client.core.CoreV1().Pods(client.namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		if len(pods.Items) > 0 {
			return &pods.Items[0], nil
		}
		time.Sleep(time.Second)
	}
	return nil, fmt.Errorf("no pod of BuildRun %q after 10 seconds", run)
}
