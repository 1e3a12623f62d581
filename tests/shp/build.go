package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func createBuild(ctx context.Context, client *client, i *invocation, name string) error {
	if i.outputImage == "" {
		return errors.New(`required flag "output-image" not set`)
	}
	made := newBuild(name)
	made.Spec = buildSpec{
		Source:    i.source(),
		Strategy:  strategy{Name: i.strategyName, Kind: text(i.strategyKind)},
		Output:    image{Image: i.outputImage, PushSecret: text(i.pushSecret)},
		Timeout:   duration(i.timeout),
		Retention: i.retention(),
	}
	if i.outputInsecure {
		made.Spec.Output.Insecure = &i.outputInsecure
	}
	var err error
	if made.Spec.ParamValues, err = i.params(); err != nil {
		return err
	}
	if err = client.create(ctx, "builds", made, made); err != nil {
		return err
	}
	fmt.Printf("Created build %q\n", name)
	return nil
}

func listBuilds(ctx context.Context, client *client, _ *invocation) error {
	if err := client.requireNamespace(ctx); err != nil {
		return err
	}
	var list struct{ Items []build }
	if err := client.get(ctx, &list, "builds"); err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tOUTPUT\tSTATUS")
	for _, build := range list.Items {
		status := ""
		if build.Status.Message != nil {
			status = *build.Status.Message
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", build.Metadata.Name, build.Spec.Output.Image, status)
	}
	return table.Flush()
}

// deleteBuild deletes the Build first and then the runs that have its label.
func deleteBuild(ctx context.Context, client *client, i *invocation, name string) error {
	if err := client.delete(ctx, "builds", name); err != nil {
		return err
	}
	if i.recursive {
		runs, err := client.buildRuns(ctx, buildLabel+"="+name)
		if err != nil {
			return err
		}
		for _, run := range runs {
			if err := client.delete(ctx, "buildruns", run.Metadata.Name); err != nil {
				return err
			}
		}
	}
	fmt.Printf("Build deleted %q\n", name)
	return nil
}

func runBuild(ctx context.Context, client *client, i *invocation, name string) error {
	run := newBuildRun(objectMeta{GenerateName: name + "-"}, name)
	var err error
	if run.Spec.ParamValues, err = i.params(); err != nil {
		return err
	}
	if err = client.create(ctx, "buildruns", run, run); err != nil {
		return err
	}
	if !i.follow {
		fmt.Printf("BuildRun created %q for Build %q\n", run.Metadata.Name, name)
		return nil
	}
	events := eventsOf(client, name, run.Metadata.Name)
	followBuildRun(client, events, run.Metadata.Name)
	return events.handle(ctx)
}

// eventsOf are those of the pods that have both labels.
func eventsOf(client *client, build, run string) *podEvents {
	return &podEvents{client: client, selector: buildLabel + "=" + build + "," + buildRunLabel + "=" + run}
}

func (i *invocation) source() *source {
	made := &source{ContextDir: text(i.contextDir)}
	switch {
	case i.gitURL != "":
		made.Type = "Git"
		made.Git = &git{URL: i.gitURL, Revision: text(i.gitRevision), CloneSecret: text(i.cloneSecret)}
	case i.ociImage != "":
		made.Type = "OCI"
		made.OCIArtifact = &ociArtifact{Image: i.ociImage, Prune: text(i.prune), PullSecret: text(i.pullSecret)}
	default:
		return nil
	}
	return made
}

func (i *invocation) params() ([]paramValue, error) {
	var values []paramValue
	for _, given := range i.paramValues {
		name, value, ok := strings.Cut(given, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q is not of the form name=value", given)
		}
		values = append(values, paramValue{Name: name, Value: &value})
	}
	return values, nil
}

func (i *invocation) retention() *retention {
	if i.ttlAfterFailed == 0 && i.ttlAfterSucceeded == 0 {
		return nil
	}
	return &retention{TTLAfterFailed: duration(i.ttlAfterFailed), TTLAfterSucceeded: duration(i.ttlAfterSucceeded)}
}

func text(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func duration(value time.Duration) *metav1.Duration {
	if value == 0 {
		return nil
	}
	return &metav1.Duration{Duration: value}
}
