package main

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// podEvents tells handlers what becomes of the pods of a run, as little as the stock client does: only changes of a pod reach them,
// neither that it is there nor that it is gone. Whatever is seen first stops the calls that say that nothing was seen.
type podEvents struct {
	client     *client
	selector   string
	onModified []func(context.Context, *corev1.Pod) error
	onNothing  func(context.Context) error
	ended      bool
}

// errWatchEnded stands for what the stock client does then: it spins for ever.
var errWatchEnded = errors.New("the watch of pods has ended, where the stock client hangs")

func (p *podEvents) end() {
	p.ended = true
}

func (p *podEvents) handle(ctx context.Context) error {
	events, err := p.client.core.CoreV1().Pods(p.client.namespace).Watch(ctx, metav1.ListOptions{LabelSelector: p.selector})
	if err != nil {
		return err
	}
	defer events.Stop()
	nothing := time.NewTicker(time.Second)
	defer nothing.Stop()
	for !p.ended {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-nothing.C:
			if p.onNothing != nil {
				err = p.onNothing(ctx)
			}
		case event, open := <-events.ResultChan():
			if !open {
				return errWatchEnded
			}
			nothing.Stop()
			pod, isPod := event.Object.(*corev1.Pod)
			if !isPod || event.Type != watch.Modified {
				continue
			}
			for _, handler := range p.onModified {
				if err = handler(ctx, pod); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
