package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/yaml"
)

// gather writes what it finds about a run into a directory, or an archive of it. Where it looks for the pod is the executor's to say, and
// only those of Tekton are known.
func gather(ctx context.Context, client *client, i *invocation, name string) error {
	answer, err := send(ctx, client.rest().Get().AbsPath(client.path("buildruns", name)...))
	if err != nil {
		return err
	}
	text, err := yaml.JSONToYAML(answer)
	if err != nil {
		return err
	}
	directory := filepath.Join(i.output, name+"-gather")
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "buildrun.yaml"), text, 0o644); err != nil {
		return err
	}
	run, err := client.buildRun(ctx, name)
	if err != nil {
		return err
	}
	if err := gatherExecutor(ctx, client, run.Status.Executor); err != nil {
		return err
	}
	if !i.archive {
		return nil
	}
	return errors.Join(pack(directory, directory+".tar.gz"), os.RemoveAll(directory))
}

func gatherExecutor(ctx context.Context, client *client, executor *executor) error {
	if executor == nil || executor.Name == "" {
		fmt.Fprintln(os.Stderr, "Warning: the BuildRun names no executor")
		return nil
	}
	plural := map[string]string{"TaskRun": "taskruns", "PipelineRun": "pipelineruns"}[executor.Kind]
	if plural == "" {
		return fmt.Errorf("unsupported executor kind %q", executor.Kind)
	}
	_, err := send(ctx, client.rest().Get().AbsPath("/apis/tekton.dev/v1/namespaces", client.namespace, plural, executor.Name))
	if executor.Kind == "TaskRun" && apierrors.IsNotFound(err) {
		fmt.Fprintf(os.Stderr, "Warning: there is no TaskRun %q\n", executor.Name)
		return nil
	}
	if err == nil {
		return errors.New("what the stock client gathers of Tekton's objects is not played here")
	}
	return err
}

func pack(directory, archive string) error {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	compressed := gzip.NewWriter(file)
	writer := tar.NewWriter(compressed)
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, filepath.Dir(directory)+string(filepath.Separator))
		return packFile(writer, path, name)
	})
	return errors.Join(err, writer.Close(), compressed.Close(), file.Close())
}
