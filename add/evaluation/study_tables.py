"""A study's report in Markdown."""
from add.evaluation.classification_report import table


def markdown(result):
    """Return the report: classification, labels, metrics, seconds and commands, for each size of the training set."""
    options, machine = result["options"], result["machine"]
    lines = [f"# Study: {options['dataset']}", "",
             f"{options['image_size']} pixels, seed {options['seed']}, {result['date']}, {machine['cores']} cores, "
             f"torch {machine['torch']}.", ""]
    for size, found in result["sizes"].items():
        lines += [f"## {size} training images per domain", "", "### Classification", "",
                  table(found["classification"])]
        if found["labels"]:
            lines += ["### Soft labels", "", *_label_lines(found["labels"])]
        if found["metrics"]:
            lines += ["### Images", "", *_metric_lines(found["metrics"])]
        lines += ["### Commands", "", "| step | seconds | command |", "| --- | --- | --- |",
                  *(f"| {name} | {step['seconds']:g} | `{step['command']}` |" for name, step in found["steps"].items()),
                  ""]
    return "\n".join(lines)


def _label_lines(labels):
    """Return the lines on the label rules and on measured severity by m."""
    lines = ["| rule | Spearman with measured severity | calibration error | root mean square error |",
             "| --- | --- | --- | --- |"]
    for rule, quality in labels["rules"].items():
        lines.append(f"| {rule} | {quality['spearman']:.3f} | {quality['calibration_error']:.3f} | "
                     f"{quality['rmse']:.3f} |")
    low, high = labels["domain_means"]
    lines += ["", f"Mean measured severity by m (the domains' training images have {low:.3f} and {high:.3f}):", ""]
    amount = max(map(len, labels["by_m"].values()))
    lines += ["| domain | " + " | ".join(f"m = {m}" for m in range(1, amount + 1)) + " |",
              "| --- " * (amount + 1) + "|"]
    lines += [f"| {direction} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"
              for direction, means in labels["by_m"].items()]
    return [*lines, ""]


def _metric_lines(metrics):
    """Return a table: a row per metric, and for each set of images the value and that of real images at the same n."""
    names = list(dict.fromkeys(name for found in metrics.values() for name in found["metrics"]))
    lines = ["In each cell: generated images, at the same number as (in brackets) one half of the real test images "
             "against the other.", "", "| metric | " + " | ".join(metrics) + " |", "| --- " * (len(metrics) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(_value(found["metrics"].get(name)) for found in metrics.values()) + " |"
              for name in names]
    return [*lines, ""]


def _value(metric):
    """Return "fake (real)" of a metric, as far as there is any."""
    if metric is None:
        return ""
    fake = metric.get("fake_at_count") if metric.get("fake_at_count") is not None else metric.get("fake")
    cell = "" if fake is None else f"{fake:.4g}"
    return cell + (f" ({metric['real']:.4g})" if metric.get("real") is not None else "")
