package main

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The objects with the Go types of the stock client: what it cannot decode, this program cannot either. Only fields that it sets or reads.
// As there, an object that is sent has an empty status and a creation timestamp of null.

const apiVersion = "shipwright.io/v1beta1"

const (
	buildLabel    = "build.shipwright.io/name"
	buildRunLabel = "buildrun.shipwright.io/name"
	canceled      = "BuildRunCanceled"
)

type object struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   objectMeta `json:"metadata"`
}

type objectMeta struct {
	Name              string            `json:"name,omitempty"`
	GenerateName      string            `json:"generateName,omitempty"`
	Labels            map[string]string `json:"labels,omitempty"`
	CreationTimestamp *metav1.Time      `json:"creationTimestamp"`
	DeletionTimestamp *metav1.Time      `json:"deletionTimestamp,omitempty"`
}

type build struct {
	object `json:",inline"`
	Spec   buildSpec   `json:"spec"`
	Status buildStatus `json:"status"`
}

type buildSpec struct {
	Source      *source          `json:"source,omitempty"`
	Strategy    strategy         `json:"strategy"`
	ParamValues []paramValue     `json:"paramValues,omitempty"`
	Output      image            `json:"output"`
	Timeout     *metav1.Duration `json:"timeout,omitempty"`
	Retention   *retention       `json:"retention,omitempty"`
}

type source struct {
	Type        string       `json:"type,omitempty"`
	ContextDir  *string      `json:"contextDir,omitempty"`
	OCIArtifact *ociArtifact `json:"ociArtifact,omitempty"`
	Git         *git         `json:"git,omitempty"`
	Local       *local       `json:"local,omitempty"`
}

type git struct {
	URL         string  `json:"url"`
	Revision    *string `json:"revision,omitempty"`
	CloneSecret *string `json:"cloneSecret,omitempty"`
}

type ociArtifact struct {
	Image      string  `json:"image"`
	Prune      *string `json:"prune,omitempty"`
	PullSecret *string `json:"pullSecret,omitempty"`
}

type local struct {
	Name    string           `json:"name"`
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

type strategy struct {
	Name string  `json:"name"`
	Kind *string `json:"kind,omitempty"`
}

type paramValue struct {
	Name  string  `json:"name"`
	Value *string `json:"value,omitempty"`
}

type image struct {
	Image       string            `json:"image"`
	Insecure    *bool             `json:"insecure,omitempty"`
	PushSecret  *string           `json:"pushSecret,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

type retention struct {
	TTLAfterFailed    *metav1.Duration `json:"ttlAfterFailed,omitempty"`
	TTLAfterSucceeded *metav1.Duration `json:"ttlAfterSucceeded,omitempty"`
}

type buildStatus struct {
	Registered *string `json:"registered,omitempty"`
	Reason     *string `json:"reason,omitempty"`
	Message    *string `json:"message,omitempty"`
}

type buildRun struct {
	object `json:",inline"`
	Spec   buildRunSpec   `json:"spec"`
	Status buildRunStatus `json:"status"`
}

type buildRunSpec struct {
	Build          referencedBuild  `json:"build"`
	Source         *runSource       `json:"source,omitempty"`
	ServiceAccount *string          `json:"serviceAccount,omitempty"`
	Timeout        *metav1.Duration `json:"timeout,omitempty"`
	ParamValues    []paramValue     `json:"paramValues,omitempty"`
	Output         *image           `json:"output,omitempty"`
	State          *string          `json:"state,omitempty"`
	Retention      *retention       `json:"retention,omitempty"`
}

type referencedBuild struct {
	Name *string    `json:"name,omitempty"`
	Spec *buildSpec `json:"spec,omitempty"`
}

type runSource struct {
	Type  string `json:"type,omitempty"`
	Local *local `json:"local,omitempty"`
}

type buildRunStatus struct {
	Conditions     []condition     `json:"conditions,omitempty"`
	StartTime      *metav1.Time    `json:"startTime,omitempty"`
	CompletionTime *metav1.Time    `json:"completionTime,omitempty"`
	BuildSpec      *buildSpec      `json:"buildSpec,omitempty"`
	FailureDetails *failureDetails `json:"failureDetails,omitempty"`
	Executor       *executor       `json:"executor,omitempty"`
	TaskRunName    *string         `json:"taskRunName,omitempty"`
}

type condition struct {
	Type               string      `json:"type"`
	Status             string      `json:"status"`
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`
	Reason             string      `json:"reason"`
	Message            string      `json:"message"`
}

type failureDetails struct {
	Reason   string          `json:"reason,omitempty"`
	Message  string          `json:"message,omitempty"`
	Location *failedLocation `json:"location,omitempty"`
}

type failedLocation struct {
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
}

type executor struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

func (run *buildRun) succeeded() *condition {
	for i := range run.Status.Conditions {
		if run.Status.Conditions[i].Type == "Succeeded" {
			return &run.Status.Conditions[i]
		}
	}
	return nil
}

func (run *buildRun) isDone() bool {
	condition := run.succeeded()
	return condition != nil && condition.Status != "Unknown"
}

func (run *buildRun) isCanceled() bool {
	return run.Spec.State != nil && *run.Spec.State == canceled
}

func newBuild(name string) *build {
	return &build{object: object{APIVersion: apiVersion, Kind: "Build", Metadata: objectMeta{Name: name}}}
}

func newBuildRun(metadata objectMeta, build string) *buildRun {
	run := &buildRun{object: object{APIVersion: apiVersion, Kind: "BuildRun", Metadata: metadata}}
	run.Spec.Build.Name = &build
	return run
}

func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // Only maps with odd keys and cycles.
	}
	return text
}
