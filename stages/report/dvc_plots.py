"""The HTML template that `dvc plots --html-template` fills."""

from __future__ import annotations

from stages.report.pages import page

VEGA_LITE = "5.21"  # DVC's templates are written for Vega-Lite 5


def page_template(title: str, notes: list[str]) -> str:
    """A template with Vega in it and no address to fetch from; `notes` are paragraphs above the plots."""
    import vl_convert

    # DVC fills {plot_divs}; without {scripts} its links to a server stay out.
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE).replace("</script", "<\\/script")
    return page("dvc_plots.html", title=title, vega=vega, notes=notes)
