package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// follower prints what a run does until it ends.
type follower struct {
	client *client
	events *podEvents
	run    string

	running bool
	stop    context.CancelFunc
	streams sync.WaitGroup
	print   sync.Mutex
}

// followBuildRun adds a follower of the run to the events of its pods.
func followBuildRun(client *client, events *podEvents, run string) {
	f := &follower{client: client, events: events, run: run, stop: func() {}}
	events.onModified = append(events.onModified, f.onPod)
	events.onNothing = f.onNothing
}

func (f *follower) say(format string, arguments ...any) {
	f.print.Lock()
	defer f.print.Unlock()
	fmt.Printf(format+"\n", arguments...)
}

// end stops all streams at once: what they had still to print is lost.
func (f *follower) end() {
	f.stop()
	f.streams.Wait()
	f.events.end()
}

func (f *follower) onPod(ctx context.Context, pod *corev1.Pod) error {
	switch pod.Status.Phase {
	case corev1.PodPending:
		f.say("Pod %q in state %q, reason %q", pod.Name, pod.Status.Phase, pod.Status.Reason)
		for _, condition := range pod.Status.Conditions {
			isAwaited := condition.Type == corev1.PodInitialized || condition.Type == corev1.ContainersReady
			if isAwaited && condition.Status == corev1.ConditionUnknown {
				f.end()
				return errors.New(condition.Message)
			}
		}
	case corev1.PodRunning:
		f.onRunning(ctx, pod)
	case corev1.PodSucceeded:
		if !f.running {
			f.printLogs(ctx, pod)
		}
		f.say("Pod %q has succeeded!", pod.Name)
		f.end()
	case corev1.PodFailed:
		err := f.onFailed(ctx, pod)
		f.end()
		return err
	}
	return nil
}

// onRunning starts one stream for each container at the first sight of a container that runs. None is ever started again.
func (f *follower) onRunning(ctx context.Context, pod *corev1.Pod) {
	if f.running {
		return
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil && !status.State.Running.StartedAt.IsZero() {
			f.running = true
		}
	}
	if !f.running {
		return
	}
	ctx, f.stop = context.WithCancel(ctx)
	for _, container := range allContainers(pod) {
		f.streams.Add(1)
		go func() {
			defer f.streams.Done()
			f.stream(ctx, pod.Name, container)
		}()
	}
}

func (f *follower) stream(ctx context.Context, pod, container string) {
	options := &corev1.PodLogOptions{Container: container, Follow: true}
	stream, err := f.client.core.CoreV1().Pods(f.client.namespace).GetLogs(pod, options).Stream(ctx)
	if err == nil {
		defer stream.Close()
		name := strings.TrimPrefix(container, "step-")
		// Its limit of 64 KiB a line is that of the stock client.
		lines := bufio.NewScanner(stream)
		for lines.Scan() {
			f.say("[%s] %s", name, lines.Text())
		}
		err = lines.Err()
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "log of container %s: %s\n", container, err)
	}
}

// printLogs is for a pod that was never seen running; init containers are left out.
func (f *follower) printLogs(ctx context.Context, pod *corev1.Pod) {
	for _, container := range pod.Spec.Containers {
		text, err := containerLog(ctx, f.client, pod.Name, container.Name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "log of container %s: %s\n", container.Name, err)
			continue
		}
		f.say("*** Pod %q, container %q: ***\n\n%s", pod.Name, container.Name, text)
	}
}

func (f *follower) onFailed(ctx context.Context, pod *corev1.Pod) error {
	run, err := f.ended(ctx)
	switch {
	case apierrors.IsNotFound(err):
		f.say("BuildRun %q has been deleted.", f.run)
	case err != nil:
		return err
	case run.isCanceled():
		f.say("BuildRun %q has been canceled.", f.run)
	case run.Metadata.DeletionTimestamp != nil:
		f.say("BuildRun %q has been deleted.", f.run)
	case pod.DeletionTimestamp != nil:
		f.say("Pod %q has been deleted.", pod.Name)
	default:
		f.say("%s", failureText(run, pod))
	}
	return errors.New("the build has failed")
}

// ended asks for the run until it says that it ended, for 15 seconds at most.
func (f *follower) ended(ctx context.Context) (*buildRun, error) {
	deadline := time.Now().Add(15 * time.Second)
	for {
		run, err := f.client.buildRun(ctx, f.run)
		if err != nil || run.isDone() || time.Now().After(deadline) {
			return run, err
		}
		time.Sleep(time.Second)
	}
}

// failureText says what the run says of its failure, and all of the pod where it says nothing.
func failureText(run *buildRun, pod *corev1.Pod) string {
	details := run.Status.FailureDetails
	if details == nil || details.Location == nil {
		text, _ := json.MarshalIndent(pod, "", "  ")
		return fmt.Sprintf("BuildRun %q has failed:\n%s", run.Metadata.Name, text)
	}
	container := details.Location.Container
	text := fmt.Sprintf("BuildRun %q has failed at step %q because of %s: %s", run.Metadata.Name, container, details.Reason, details.Message)
	for _, status := range pod.Status.ContainerStatuses {
		if status.Name == container {
			shown, _ := json.MarshalIndent(status, "", "  ")
			text += fmt.Sprintf("\nStep details:\n%s", shown)
		}
	}
	return text
}

// onNothing looks whether the run will ever have a pod. A run that failed without one ends this with success: the stock client's gap.
func (f *follower) onNothing(ctx context.Context) error {
	pods, err := f.client.core.CoreV1().Pods(f.client.namespace).List(ctx, metav1.ListOptions{LabelSelector: f.events.selector})
	if err != nil {
		return err
	}
	if len(pods.Items) > 0 {
		return f.onPod(ctx, &pods.Items[0])
	}
	run, err := f.client.buildRun(ctx, f.run)
	switch {
	case apierrors.IsNotFound(err):
		f.say("BuildRun %q has been deleted.", f.run)
	case err != nil:
		return err
	case run.isCanceled():
		f.say("BuildRun %q has been canceled.", f.run)
	case run.Metadata.DeletionTimestamp != nil:
		f.say("BuildRun %q has been deleted.", f.run)
	case run.isDone():
		f.say("BuildRun %q has ended without a pod: %s: %s", f.run, run.succeeded().Reason, run.succeeded().Message)
	default:
		return nil
	}
	f.end()
	return nil
}

func allContainers(pod *corev1.Pod) []string {
	var names []string
	for _, container := range pod.Spec.InitContainers {
		names = append(names, container.Name)
	}
	for _, container := range pod.Spec.Containers {
		names = append(names, container.Name)
	}
	return names
}

func containerLog(ctx context.Context, client *client, pod, container string) (string, error) {
	stream, err := client.core.CoreV1().Pods(client.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	text, err := io.ReadAll(stream)
	return string(text), err
}
