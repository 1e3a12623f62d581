package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	criclient "k8s.io/cri-client/pkg"
	"k8s.io/klog/v2"
)

// removePods ends every pod that the container runtime at the given address still knows, its network and mounts included.
// Only the runtime can take a pod down whole, and after a crash there is no kubelet left to ask it to.
func removePods(address string) error {
	logger := klog.Background()
	runtime, err := criclient.NewRemoteRuntimeService("unix://"+address, time.Minute, nil, &logger)
	if err != nil {
		return fmt.Errorf("connect to the container runtime at %s: %w", address, err)
	}
	pods, err := runtime.ListPodSandbox(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	failures := make([]error, len(pods))
	slots := make(chan struct{}, 8)
	var workers sync.WaitGroup
	for i, pod := range pods {
		workers.Add(1)
		slots <- struct{}{}
		go func() {
			defer workers.Done()
			failures[i] = removePod(runtime, pod.Id)
			<-slots
		}()
	}
	workers.Wait()
	return errors.Join(failures...)
}

func removePod(runtime cri.RuntimeService, id string) error {
	if err := runtime.StopPodSandbox(context.Background(), id); err != nil {
		return fmt.Errorf("stop pod %s: %w", id, err)
	}
	if err := runtime.RemovePodSandbox(context.Background(), id); err != nil {
		return fmt.Errorf("remove pod %s: %w", id, err)
	}
	return nil
}

func removePodsMain(arguments []string) int {
	if len(arguments) != 2 {
		fmt.Fprintf(os.Stderr, "usage: %s SOCKET\n", arguments[0])
		return 64
	}
	if err := removePods(arguments[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
