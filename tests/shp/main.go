// Behaves towards a cluster as the stock client of Shipwright does: the same requests in the same order, the same waits and the same gaps.
// It is no copy of that client, whose texts differ where no check looks at them.
//
//	shp [--release v0.16|v0.17|v0.19] build create|list|delete|run|upload …
//	shp buildrun create|list|cancel|delete|logs|gather …
//	shp upstream    stands in for an installed controller of upstream's, inside a pod
//
// Exit codes: 0, and 1 for everything else.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
)

// invocation is a command line: the name that a verb needs, and all flags that any verb knows.
type invocation struct {
	verb      string
	arguments []string

	namespace, release                            string
	follow, recursive, wide, archive              bool
	buildRef, output, serviceAccount, outputImage string
	gitURL, gitRevision, cloneSecret, contextDir  string
	ociImage, prune, pullSecret                   string
	strategyName, strategyKind, pushSecret        string
	outputInsecure                                bool
	paramValues                                   []string
	timeout, ttlAfterFailed, ttlAfterSucceeded    time.Duration
}

func (i *invocation) parse(arguments []string) error {
	flags := pflag.NewFlagSet("shp", pflag.ContinueOnError)
	flags.StringVar(&i.release, "release", "v0.19", "which release of the client to behave like")
	flags.StringVarP(&i.namespace, "namespace", "n", "", "")
	flags.BoolVarP(&i.follow, "follow", "F", false, "")
	flags.BoolVarP(&i.recursive, "delete-runs", "r", false, "")
	flags.BoolVar(&i.wide, "wide", false, "")
	flags.BoolVarP(&i.archive, "archive", "z", false, "")
	flags.StringVarP(&i.output, "output", "o", "", "")
	flags.StringVar(&i.buildRef, "buildref-name", "", "")
	flags.StringVar(&i.serviceAccount, "sa-name", "", "")
	flags.StringVar(&i.outputImage, "output-image", "", "")
	flags.BoolVar(&i.outputInsecure, "output-insecure", false, "")
	flags.StringVar(&i.pushSecret, "output-image-push-secret", "", "")
	flags.StringVar(&i.gitURL, "source-git-url", "", "")
	flags.StringVar(&i.gitRevision, "source-git-revision", "", "")
	flags.StringVar(&i.cloneSecret, "source-git-clone-secret", "", "")
	flags.StringVar(&i.contextDir, "source-context-dir", "", "")
	flags.StringVar(&i.ociImage, "source-oci-artifact-image", "", "")
	flags.StringVar(&i.prune, "source-oci-artifact-prune", "", "")
	flags.StringVar(&i.pullSecret, "source-oci-artifact-pull-secret", "", "")
	flags.StringVar(&i.strategyName, "strategy-name", "buildpacks-v3", "")
	flags.StringVar(&i.strategyKind, "strategy-kind", "ClusterBuildStrategy", "")
	flags.StringArrayVar(&i.paramValues, "param-value", nil, "")
	flags.DurationVar(&i.timeout, "timeout", 0, "")
	flags.DurationVar(&i.ttlAfterFailed, "retention-ttl-after-failed", 0, "")
	flags.DurationVar(&i.ttlAfterSucceeded, "retention-ttl-after-succeeded", 0, "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	words := flags.Args()
	length := min(2, len(words))
	if length > 0 && words[0] == "upstream" {
		length = 1
	}
	i.verb, i.arguments = strings.Join(words[:length], " "), words[length:]
	return nil
}

// name is the argument that most verbs need.
func (i *invocation) name() (string, error) {
	if len(i.arguments) == 0 {
		return "", errors.New(i.verb + " needs a name")
	}
	return i.arguments[0], nil
}

type verb func(context.Context, *client, *invocation) error

// named is for verbs about one object.
func named(do func(context.Context, *client, *invocation, string) error) verb {
	return func(ctx context.Context, client *client, i *invocation) error {
		name, err := i.name()
		if err != nil {
			return err
		}
		return do(ctx, client, i, name)
	}
}

var verbs = map[string]verb{
	"build create":    named(createBuild),
	"build list":      listBuilds,
	"build delete":    named(deleteBuild),
	"build run":       named(runBuild),
	"build upload":    named(upload),
	"buildrun create": named(createBuildRun),
	"buildrun list":   listBuildRuns,
	"buildrun cancel": named(cancelBuildRun),
	"buildrun delete": named(deleteBuildRun),
	"buildrun logs":   named(printBuildRunLogs),
	"buildrun gather": named(gather),
	"upstream":        upstream,
}

func run() error {
	var i invocation
	if err := i.parse(os.Args[1:]); err != nil {
		return err
	}
	do, known := verbs[i.verb]
	if !known {
		return fmt.Errorf("no verb %q", i.verb)
	}
	client, err := newClient(i.namespace)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return do(ctx, client, &i)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}
