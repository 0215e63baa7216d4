package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"petpick/bench/rig"
)

// serve is a small implementation of GET /random: the constant, or what is written first by most who need one.
func serve(kind, addr, endpoint string) error {
	client := s3Client(endpoint, os.Getenv("AWS_SECRET_ACCESS_KEY"))
	pick := map[string]func(context.Context) (string, error){
		"constant": func(context.Context) (string, error) { return "cat/" + strings.Repeat("0", 31) + "1.jpg", nil },
		"list":     func(ctx context.Context) (string, error) { return byList(ctx, client) },
		"weights":  func(ctx context.Context) (string, error) { return byWeights(ctx, client) },
	}[kind]
	if pick == nil {
		return fmt.Errorf("no rival is called %q", kind)
	}
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := pick(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Location", "/"+key)
		w.WriteHeader(http.StatusFound)
	}))
}

func s3Client(endpoint, secret string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(rig.AccessKey, secret, ""),
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 256, 256
		}),
	})
}

// byList draws evenly from the bucket's list: it knows no weights.
func byList(ctx context.Context, client *s3.Client) (string, error) {
	var keys []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: aws.String(rig.Photos), Prefix: aws.String("cat/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, o := range page.Contents {
			keys = append(keys, *o.Key)
		}
	}
	if len(keys) == 0 {
		return "", fmt.Errorf("no pictures")
	}
	return keys[rand.IntN(len(keys))], nil
}

const weightsKey = "weights.json"

// byWeights reads one object with all keys and weights, and walks it.
func byWeights(ctx context.Context, client *s3.Client) (string, error) {
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(rig.Index), Key: aws.String(weightsKey)})
	if err != nil {
		return "", err
	}
	defer out.Body.Close()
	weights := map[string]float64{}
	if err := json.NewDecoder(out.Body).Decode(&weights); err != nil {
		return "", err
	}
	total := 0.0
	for _, w := range weights {
		total += w
	}
	height, last := rand.Float64()*total, ""
	for key, w := range weights {
		last = key
		if height -= w; height < 0 {
			break
		}
	}
	return last, nil
}

func writeWeights(ctx context.Context, endpoint, secret string, pictures []rig.Picture) error {
	weights := map[string]float64{}
	for _, p := range pictures {
		weights["cat/"+p.ID+".jpg"] = p.Weight
	}
	body, err := json.Marshal(weights)
	if err != nil {
		return err
	}
	_, err = s3Client(endpoint, secret).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(rig.Index), Key: aws.String(weightsKey), Body: bytes.NewReader(body)})
	return err
}
