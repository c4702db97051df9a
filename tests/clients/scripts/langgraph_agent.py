"""A LangGraph agent over langchain-openai: `--stream` streams tokens out of the graph."""

import errand
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI


def run(is_stream):
    model = ChatOpenAI(model=errand.MODEL, base_url=f"{errand.BASE_URL}/v1", api_key=errand.API_KEY)
    agent = create_agent(model, [errand.get_weather], system_prompt=errand.INSTRUCTIONS)
    goal = {"messages": [("user", errand.GOAL)]}
    if not is_stream:
        return agent.invoke(goal)["messages"][-1].content
    state = goal
    for mode, event in agent.stream(goal, stream_mode=["messages", "values"]):
        if mode == "values":
            state = event
    return state["messages"][-1].content


if __name__ == "__main__":
    errand.report(run(errand.options("stream").is_stream))
