package main

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// client asks the API server as the stock client does: four resources of Shipwright's and a few of the core, without discovery.
type client struct {
	core      kubernetes.Interface
	config    *rest.Config
	namespace string
}

func newClient(namespace string) (*client, error) {
	loading := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	config, err := loading.ClientConfig()
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		if namespace, _, err = loading.Namespace(); err != nil {
			return nil, err
		}
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &client{core: core, config: config, namespace: namespace}, nil
}

func (c *client) path(parts ...string) []string {
	return append([]string{"/apis", apiVersion, "namespaces", c.namespace}, parts...)
}

func (c *client) rest() rest.Interface {
	return c.core.CoreV1().RESTClient()
}

// send tells of a refusal in the API server's own words, as typed clients do and the raw way of the library does not.
func send(ctx context.Context, request *rest.Request) ([]byte, error) {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// get decodes an object, or a list where the path has no name.
func (c *client) get(ctx context.Context, into any, path ...string) error {
	answer, err := send(ctx, c.rest().Get().AbsPath(c.path(path...)...))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

func (c *client) create(ctx context.Context, plural string, object, into any) error {
	answer, err := send(ctx, c.rest().Post().AbsPath(c.path(plural)...).SetHeader("Content-Type", "application/json").Body(encode(object)))
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, into)
}

func (c *client) patch(ctx context.Context, kind types.PatchType, patch any, path ...string) error {
	_, err := send(ctx, c.rest().Patch(kind).AbsPath(c.path(path...)...).Body(encode(patch)))
	return err
}

func (c *client) delete(ctx context.Context, path ...string) error {
	_, err := send(ctx, c.rest().Delete().AbsPath(c.path(path...)...))
	return err
}

func (c *client) build(ctx context.Context, name string) (*build, error) {
	var found build
	return &found, c.get(ctx, &found, "builds", name)
}

func (c *client) buildRun(ctx context.Context, name string) (*buildRun, error) {
	var found buildRun
	return &found, c.get(ctx, &found, "buildruns", name)
}

func (c *client) buildRuns(ctx context.Context, selector string) ([]buildRun, error) {
	request := c.rest().Get().AbsPath(c.path("buildruns")...)
	if selector != "" {
		request = request.Param("labelSelector", selector)
	}
	answer, err := send(ctx, request)
	if err != nil {
		return nil, err
	}
	var list struct{ Items []buildRun }
	return list.Items, json.Unmarshal(answer, &list)
}

// requireNamespace precedes every list.
func (c *client) requireNamespace(ctx context.Context) error {
	_, err := c.core.CoreV1().Namespaces().Get(ctx, c.namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %q does not exist", c.namespace)
	}
	return err
}
