package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"petpick/src/gateway"
)

// maxEvent is what Lambda takes as an event or a response: JSON, with the body in base64.
const maxEvent = 6<<20 + 100

// What Lambda says in a function's place. Which status becomes of it is the caller's doing: API Gateway's, or the function URL's.
var (
	errThrottled = errors.New("as many calls as the function's reserved concurrency are under way")
	errFunction  = errors.New("the function failed, did not answer in time, or too much")
)

// lambda is a function's settings.
type lambda struct {
	timeout time.Duration
	slots   *semaphore.Weighted // of reserved concurrency; nil without
}

// lambda resolves a reference to a function. One function has one concurrency, whoever calls it.
func (b *builder) lambda(reference string) (string, *lambda, error) {
	c := struct {
		Timeout                      seconds
		ReservedConcurrentExecutions json.Number
	}{Timeout: seconds(3 * time.Second)} // Lambda's default
	id, err := b.lookup(reference, "AWS::Lambda::Function", &c)
	if err != nil {
		return "", nil, err
	}
	if made, ok := b.lambdas[id]; ok {
		return id, made, nil
	}
	made := &lambda{timeout: time.Duration(c.Timeout)}
	if c.ReservedConcurrentExecutions != "" {
		n, err := c.ReservedConcurrentExecutions.Int64()
		if err != nil {
			return "", nil, fmt.Errorf("%s: reserved concurrency: %w", id, err)
		}
		made.slots = semaphore.NewWeighted(n)
	}
	b.lambdas[id] = made
	return id, made, nil
}

// invoke runs a function within its time. It goes on when the client goes away.
//
// Where its own time is all that can end the wait, it runs in the caller's goroutine: to hand a draw over to another one and back costs as much as
// the rest of the edge, and on a single processor makes connections wait on which something has arrived. One that does not heed its deadline is
// then waited for, where AWS would end it, and answered for as AWS would.
func (l *lambda) invoke(ctx context.Context, call func(context.Context) (gateway.Answer, error)) (gateway.Answer, error) {
	if l.slots != nil && !l.slots.TryAcquire(1) {
		return gateway.Answer{}, errThrottled
	}
	if _, bounded := ctx.Deadline(); bounded {
		return l.invokeBehind(ctx, call)
	}
	within := deadline{context.WithoutCancel(ctx), time.Now().Add(l.timeout)}
	a, err := l.run(within, call)
	if time.Now().After(within.at) {
		return gateway.Answer{}, l.late()
	}
	return a, err
}

// deadline is a context that says when it ends, and rings no bell then: the handler of a function has a clock of its own, which is earlier.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

// run returns how a call ended, and gives its slot back.
func (l *lambda) run(ctx context.Context, call func(context.Context) (gateway.Answer, error)) (a gateway.Answer, err error) {
	defer func() {
		if p := recover(); p != nil { // AWS would end the environment, and nothing else
			err = fmt.Errorf("%w: panic: %v", errFunction, p)
		}
		if l.slots != nil {
			l.slots.Release(1)
		}
	}()
	if a, err = call(ctx); err != nil {
		err = fmt.Errorf("%w: %w", errFunction, err)
	}
	return a, err
}

func (l *lambda) late() error { return fmt.Errorf("%w: %s are over", errFunction, l.timeout) }

// invokeBehind waits for no longer than ctx. A function that does not heed its deadline goes on behind the answer, and keeps its slot.
func (l *lambda) invokeBehind(ctx context.Context, call func(context.Context) (gateway.Answer, error)) (gateway.Answer, error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	type result struct {
		answer gateway.Answer
		err    error
	}
	done := make(chan result, 1)
	go func() {
		a, err := l.run(within, call)
		done <- result{a, err}
		cancel() // after it, or the end would look like a missed deadline
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-within.Done():
	case <-ctx.Done():
		return gateway.Answer{}, ctx.Err()
	}
	select { // it may have ended at the very moment
	case r := <-done:
		return r.answer, r.err
	default:
		return gateway.Answer{}, l.late()
	}
}

// fits says whether Lambda passes on an event or a response with this body.
func fits(body string, message any) bool {
	const aside = 64 << 10 // more than headers take
	if size := len(body) + aside; size <= maxEvent/2 {
		return true
	}
	b, err := json.Marshal(message)
	return err == nil && len(b) <= maxEvent
}

// functionOrigin is a Lambda function URL.
type functionOrigin struct {
	function gateway.Function
	host     string
	lambda   *lambda
}

func (o functionOrigin) fetch(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	if len(r.Body) > 0 && r.Header.Get("X-Amz-Content-Sha256") == "" {
		// Origin Access Control signs no body that the viewer did not hash.
		return apiMessage(http.StatusForbidden, "The request signature we calculated does not match the signature you provided."), nil
	}
	r.Host = o.host
	a, err := o.lambda.invoke(ctx, func(ctx context.Context) (gateway.Answer, error) {
		answer, err := o.function(ctx, gateway.FunctionEvent(r))
		if err != nil || !fits(answer.Body, answer) {
			return gateway.Answer{}, errors.Join(errFunction, err)
		}
		return gateway.FunctionAnswer(answer)
	})
	switch {
	case errors.Is(err, errThrottled):
		return apiMessage(http.StatusTooManyRequests, "Rate Exceeded."), nil
	case errors.Is(err, errFunction):
		return gateway.Answer{Status: http.StatusBadGateway, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("Internal Server Error")}, nil
	}
	return a, err
}
