package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
)

const waiterContainer = "step-source-local"

// The client calls the waiter so long after the files: its own way to let the container catch up.
const pause = 5 * time.Second

// generation is what differs between releases of the client.
type generation struct {
	tar, done  []string
	websockets bool
}

var generations = map[string]generation{
	"v0.16": {
		tar:  []string{"tar", "xfv", "-", "-C", "/workspace/source"},
		done: []string{"waiter", "done"},
	},
	"v0.17": {
		tar:  []string{"tar", "--no-same-permissions", "--no-same-owner", "-xvf", "-", "-C", "/workspace/source"},
		done: []string{"waiter", "done"},
	},
	"v0.19": {
		tar:        []string{"tar", "--no-same-permissions", "--no-same-owner", "-xvf", "-", "-C", "/workspace/source"},
		done:       []string{"waiter", "done", "--lock-file=/shp-tmp/waiter.lock"},
		websockets: true,
	},
}

func upload(ctx context.Context, client *client, i *invocation, name string) error {
	generation, known := generations[i.release]
	if !known {
		return fmt.Errorf("no release %q", i.release)
	}
	directory := "."
	if len(i.arguments) > 1 {
		directory = i.arguments[1]
	}
	build, err := client.build(ctx, name)
	if err != nil {
		return err
	}
	run := newBuildRun(objectMeta{GenerateName: name + "-"}, name)
	isBundle := build.Spec.Source != nil && build.Spec.Source.OCIArtifact != nil && build.Spec.Source.OCIArtifact.Image != ""
	if !isBundle {
		run.Spec.Source = &runSource{Type: "Local", Local: &local{Name: "local-copy"}}
	}
	if err := client.create(ctx, "buildruns", run, run); err != nil {
		return err
	}
	fmt.Printf("BuildRun created %q for Build %q\n", run.Metadata.Name, name)
	events := eventsOf(client, name, run.Metadata.Name)
	if i.follow {
		followBuildRun(client, events, run.Metadata.Name)
	}
	if isBundle {
		// The run is there before what it builds.
		if err := pushBundle(ctx, directory, build.Spec.Source.OCIArtifact.Image); err != nil {
			return err
		}
	} else {
		streamed := false
		events.onModified = append(events.onModified, func(ctx context.Context, pod *corev1.Pod) error {
			if streamed || pod.Status.Phase != corev1.PodRunning {
				return nil
			}
			streamed = true
			return stream(ctx, client, generation, pod.Name, directory)
		})
	}
	events.onModified = append(events.onModified, func(_ context.Context, pod *corev1.Pod) error {
		switch pod.Status.Phase {
		case corev1.PodSucceeded:
			events.end()
		case corev1.PodFailed:
			return errors.New("build pod has failed")
		}
		return nil
	})
	return events.handle(ctx)
}

// stream sends the files and says that they are complete.
func stream(ctx context.Context, client *client, generation generation, pod, directory string) error {
	archive, err := packFiles(directory)
	if err != nil {
		return err
	}
	if err := execute(ctx, client, generation, pod, generation.tar, archive); err != nil {
		return fmt.Errorf("send files: %w", err)
	}
	time.Sleep(pause)
	if err := execute(ctx, client, generation, pod, generation.done, nil); err != nil {
		return fmt.Errorf("end the waiting: %w", err)
	}
	return nil
}

func execute(ctx context.Context, client *client, generation generation, pod string, command []string, input io.Reader) error {
	request := client.rest().Post().Resource("pods").Name(pod).Namespace(client.namespace).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: waiterContainer, Command: command, Stdin: input != nil, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewSPDYExecutor(client.config, "POST", request.URL())
	if err != nil {
		return err
	}
	if generation.websockets {
		// First WebSocket, and SPDY where the server does not know that.
		websocket, err := remotecommand.NewWebSocketExecutor(client.config, "GET", request.URL().String())
		if err != nil {
			return err
		}
		executor, err = remotecommand.NewFallbackExecutor(websocket, executor, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		})
		if err != nil {
			return err
		}
	}
	var said bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: os.Stdout, Stderr: &said})
	os.Stderr.Write(said.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, said.String())
	}
	return nil
}

// packFiles leaves out all but regular files, and those whose path begins like Git's own.
func packFiles(directory string) (io.Reader, error) {
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil || strings.HasPrefix(name, ".git") || !entry.Type().IsRegular() {
			return err
		}
		return packFile(writer, path, name)
	})
	return &archive, errors.Join(err, writer.Close())
}

// packFile packs what a link leads to in the place of the link.
func packFile(writer *tar.Writer, path, name string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	header.Name = filepath.ToSlash(name)
	if err := writer.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(writer, file)
	return err
}
