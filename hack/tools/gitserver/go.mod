module slipway.dev/hack/gitserver

go 1.22
